"""The study's numbers, computed again from its calls, beside the numbers that it printed and the corrected ones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from earwitness.study.published_numbers import NON_TOR, NUMBERS, Published
from earwitness.study.reproduction_methods import METHODS, Method, ends_completed, ends_scored
from earwitness.study.statistics import Interval, cluster_bootstrap, correlate, quartiles

AGREES, DIFFERS, MISSING = "yes", "no", "not computable from the files at hand"

DISTURBED_JITTER_MS = 10.0
"""Mean jitter above which a call called Non-Tor is doubtful: its median is 0.2 ms, and that of Tor's calls over 25."""


@dataclass(frozen=True)
class Finding:
    """One published number and what became of it. Texts are as printed; the corrected value has its interval."""

    group: str
    condition: str
    quantity: str
    published: str
    recomputed: str
    agrees: str
    why: str
    corrected: str
    interval_low: str
    interval_high: str
    corrected_is: str
    calls: int
    places: int

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain values, in column order."""
        return dataclasses.asdict(self)


def reproduce_numbers(ends: pd.DataFrame, *, resamples: int = 1000, seed: int = 1) -> list[Finding]:
    """Every published number against the calls in `ends` (the tidy frame of `archive.tidy`).

    A number agrees when the recomputed text equals the printed one, digit for digit. Intervals are 95 % percentile
    bootstrap intervals over calls clustered by place, `resamples` resamples from `seed`.
    """
    return [_finding(number, ends[ends["condition"] == number.condition], resamples, seed) for number in NUMBERS]


def _finding(number: Published, ends: pd.DataFrame, resamples: int, seed: int) -> Finding:
    method = METHODS[number.method]
    calls, places = int(ends["call"].nunique()), int(ends["place"].nunique())
    lacking = _lacking(method, ends)
    if lacking:
        why = f"missing: {lacking}"
        return Finding(
            number.group,
            number.condition,
            number.quantity,
            number.printed,
            "",
            MISSING,
            why,
            "",
            "",
            "",
            "",
            calls,
            places,
        )
    recomputed = method.as_published(ends, number.argument)
    agrees = AGREES if recomputed == number.printed else DIFFERS
    corrected = low = high = definition = ""
    if method.right is not None:
        right = method.right(ends, number.argument)
        columns = [right.rows[name].to_numpy(dtype=float) for name in right.columns]
        corrected, definition = right.text(right.statistic(*columns)), right.definition
        if right.interval:
            spread = cluster_bootstrap(
                right.statistic, columns, right.rows["place"].to_numpy(), resamples=resamples, seed=seed
            )
            low, high = _bounds(spread, right.text)
    return Finding(
        number.group,
        number.condition,
        number.quantity,
        number.printed,
        recomputed,
        agrees,
        method.why,
        corrected,
        low,
        high,
        definition,
        calls,
        places,
    )


def _lacking(method: Method, ends: pd.DataFrame) -> str:
    """What is not here, in words, or the empty string where the number can be computed."""
    condition_missing = ends.empty
    if condition_missing or any(ends[name].notna().sum() == 0 for name in method.needed):
        return "the table of these calls" if condition_missing and method.needed != ("rtcp_rtt_ms",) else method.needs
    return ""


def _bounds(interval: Interval, text: Any) -> tuple[str, str]:
    if np.isnan(interval.low):
        return "", ""
    return text(interval.low), text(interval.high)


SUMMARY_MEASURES = (
    ("mos_lqo", "median MOS-LQO"),
    ("jitter_mean_ms", "median of mean jitter, ms"),
    ("jitter_sd_ms", "median of sd of jitter, ms"),
    ("gaps_150ms", "gaps above 150 ms, a call (pauses counted)"),
    ("spikes_150ms", "delay spikes above 150 ms, a call (pauses not counted)"),
    ("rtcp_rtt_ms", "median round trip, ms"),
)


def compare_conditions(ends: pd.DataFrame, by: str, *, resamples: int = 1000, seed: int = 1) -> pd.DataFrame:
    """One row a value of `by` (condition, codec, place) and condition: counts, shares, medians, with intervals.

    Columns: condition, `by`, ends, scored, failed (score 0.00), share of MOS-LQO >= 3.0 of the completed with its
    interval, quartiles of MOS-LQO, medians of jitter and of what else was measured.
    """
    records = []
    keys = ["condition"] if by == "condition" else ["condition", by]
    for key, group in ends.groupby(keys, sort=False):
        completed = ends_completed(group)
        scores = completed["mos_lqo"].to_numpy(dtype=float)
        spread = cluster_bootstrap(
            lambda values: float(np.mean(values >= 3.0)) if len(values) else np.nan,
            [scores],
            completed["place"].to_numpy(),
            resamples=resamples,
            seed=seed,
        )
        low, middle, high = quartiles(scores)
        scored = ends_scored(group)
        record: dict[str, Any] = {
            **dict(zip(keys, key, strict=True)),
            "ends": len(group),
            "scored": len(scored),
            "failed": int((scored["mos_lqo"] == 0).sum()),
            "share_at_least_3": float(np.mean(scores >= 3.0)) if len(scores) else np.nan,
            "share_low": spread.low,
            "share_high": spread.high,
            "mos_lqo_q1": low,
            "mos_lqo_median": middle,
            "mos_lqo_q3": high,
            "jitter_mean_ms_median": group["jitter_mean_ms"].median(),
            "jitter_sd_ms_median": group["jitter_sd_ms"].median(),
            "gaps_150ms_mean": group["gaps_150ms"].mean(),
            "spikes_150ms_mean": group["spikes_150ms"].mean(),
            "half_rtt_ms_median": group["rtcp_rtt_ms"].median() / 2.0,
        }
        records.append(record)
    return pd.DataFrame(records)


def correlations(ends: pd.DataFrame, *, resamples: int = 300, seed: int = 1) -> pd.DataFrame:
    """PESQ against the jitter's mean and standard deviation, and jitter against spikes: all codecs and each by itself.

    One row a condition, pair and codec: Pearson, Spearman (with its interval), Kendall, pairs.
    """
    pairs = (
        ("mos_lqo", "jitter_mean_ms"),
        ("mos_lqo", "jitter_sd_ms"),
        ("gaps_150ms", "jitter_mean_ms"),
        ("spikes_150ms", "jitter_mean_ms"),
    )
    records = []
    for condition, group in ends.groupby("condition", sort=False):
        chosen = group[(group["mos_lqo"] > 0) | group["mos_lqo"].isna()]
        for codec in ("all codecs", *sorted(chosen["codec"].unique())):
            of_codec = chosen if codec == "all codecs" else chosen[chosen["codec"] == codec]
            for first, second in pairs:
                both = of_codec[of_codec[first].notna() & of_codec[second].notna()]
                found = correlate(both[first], both[second])
                if found.n < 3:
                    continue
                spread = cluster_bootstrap(
                    lambda x, y: correlate_spearman(x, y),
                    [both[first].to_numpy(), both[second].to_numpy()],
                    both["place"].to_numpy(),
                    resamples=resamples,
                    seed=seed,
                )
                records.append(
                    {
                        "condition": condition,
                        "codec": codec,
                        "measure": first,
                        "against": second,
                        "pearson": found.pearson,
                        "spearman": found.spearman,
                        "spearman_low": spread.low,
                        "spearman_high": spread.high,
                        "kendall": found.kendall,
                        "pairs": found.n,
                    }
                )
    return pd.DataFrame(records)


def correlate_spearman(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Spearman's rho alone: quicker than all three within a bootstrap; NaN where a rank is constant."""
    if len(x) < 3:
        return np.nan
    ranks = [pd.Series(values).rank().to_numpy() for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return np.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def doubtful_batches(ends: pd.DataFrame) -> pd.DataFrame:
    """Calls that do not look like their label: Non-Tor calls with a mean jitter above 10 ms at an end.

    One row a codec and place: calls, doubtful calls, the first doubtful iteration, and the medians of jitter and
    MOS-LQO with and without them.
    """
    plain = ends[ends["condition"] == NON_TOR]
    worst = plain.groupby("call")["jitter_mean_ms"].max()
    doubtful = set(worst[worst > DISTURBED_JITTER_MS].index)
    records = []
    for (codec, place), group in plain.groupby(["codec", "place"], sort=True):
        bad = group["call"].isin(doubtful)
        if not bad.any():
            continue
        records.append(
            {
                "codec": codec,
                "place": place,
                "calls": group["call"].nunique(),
                "doubtful": group[bad]["call"].nunique(),
                "first_doubtful_iteration": group[bad]["iteration"].min(),
                "jitter_mean_ms_doubtful": group[bad]["jitter_mean_ms"].median(),
                "jitter_mean_ms_others": group[~bad]["jitter_mean_ms"].median(),
                "mos_lqo_doubtful": ends_completed(group[bad])["mos_lqo"].median(),
                "mos_lqo_others": ends_completed(group[~bad])["mos_lqo"].median(),
            }
        )
    return pd.DataFrame(records)


def without_doubtful(ends: pd.DataFrame) -> pd.DataFrame:
    """The ends less the calls that `doubtful_batches` counts."""
    worst = ends[ends["condition"] == NON_TOR].groupby("call")["jitter_mean_ms"].max()
    return ends[~ends["call"].isin(worst[worst > DISTURBED_JITTER_MS].index)]
