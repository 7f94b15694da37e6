"""Compares conditions, codecs and places: counts, shares, medians and correlations, with intervals over places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from earwitness.analysis.statistics import cluster_bootstrap, correlate, quartiles
from earwitness.published.methods import ends_completed, ends_scored


def compare_conditions(ends: pd.DataFrame, by: str, *, resamples: int = 1000, seed: int = 1) -> pd.DataFrame:
    """One row per value of `by` (condition, codec, place) and condition: counts, shares and medians, with intervals.

    Columns: condition, `by`, ends, scored, failed (score 0.00), share of MOS-LQO >= 3.0 among the completed with its
    interval, quartiles of MOS-LQO, medians of jitter and of other measures.
    """
    records = []
    keys = ["condition"] if by == "condition" else ["condition", by]
    order = {name: position for position, name in enumerate(dict.fromkeys(ends["condition"]))}
    groups = sorted(ends.groupby(keys), key=lambda item: (order[item[0][0]], *item[0][1:]))
    for key, group in groups:
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
    """PESQ against the mean and standard deviation of jitter, and jitter against spikes: for all codecs and each one.

    One row per condition, pair and codec: Pearson, Spearman (with its interval), Kendall, pairs.
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
    """Spearman's rho alone, which is faster in a bootstrap than all three; NaN if a rank is constant."""
    if len(x) < 3:
        return np.nan
    ranks = [pd.Series(values).rank().to_numpy() for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return np.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
