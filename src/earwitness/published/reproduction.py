"""The study's numbers recomputed from its calls, next to the printed and the corrected ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from earwitness.analysis.statistics import Interval, cluster_bootstrap
from earwitness.published.methods import METHODS, Method
from earwitness.published.printed_numbers import NUMBERS, Published

AGREES, DIFFERS, MISSING = "yes", "no", "not computable from the files at hand"


@dataclass(frozen=True)
class Finding:
    """One published number and its recomputation. Texts are as printed; the corrected value has an interval."""

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
    nearest: str
    """If the number is not computable: the same computation over the most similar calls available."""
    calls: int
    places: int

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain values, in column order."""
        return dataclasses.asdict(self)


def reproduce_numbers(
    ends: pd.DataFrame,
    nearest: Mapping[str, pd.DataFrame] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> list[Finding]:
    """Compare every published number with the calls in `ends` (the tidy frame of `published.tidy`, published tables).

    A number agrees if the recomputed text equals the printed one, digit for digit. Intervals are 95 % percentile
    bootstrap intervals over calls clustered by place, with `resamples` resamples from `seed`. `nearest` names other
    frames (a sample of the raw files, another circuit length) over which a number is computed if its own calls are not
    available.
    """
    others = {name: frame for name, frame in (nearest or {}).items() if not frame.empty}
    return [
        _finding(number, ends[ends["condition"] == number.condition], others, resamples, seed) for number in NUMBERS
    ]


def _finding(
    number: Published, ends: pd.DataFrame, nearest: Mapping[str, pd.DataFrame], resamples: int, seed: int
) -> Finding:
    method = METHODS[number.method]
    found = Finding(
        group=number.group,
        condition=number.condition,
        quantity=number.quantity,
        published=number.printed,
        recomputed="",
        agrees=MISSING,
        why="",
        corrected="",
        interval_low="",
        interval_high="",
        corrected_is="",
        nearest="",
        calls=int(ends["call"].nunique()),
        places=int(ends["place"].nunique()),
    )
    lacking = _lacking(method, ends)
    if lacking:
        texts = [
            f"{name} ({frame['call'].nunique():,} calls): {method.as_published(frame, number.argument)}"
            for name, frame in nearest.items()
            if not _lacking(method, frame) and number.method not in COUNTS
        ]
        return replace(found, why=f"not here: {lacking}", nearest="; ".join(texts))
    recomputed = method.as_published(ends, number.argument)
    found = replace(
        found, recomputed=recomputed, agrees=AGREES if recomputed == number.printed else DIFFERS, why=method.why
    )
    if method.right is None:
        return found
    right = method.right(ends, number.argument)
    columns = [right.rows[name].to_numpy(dtype=float) for name in right.columns]
    found = replace(found, corrected=right.text(right.statistic(*columns)), corrected_is=right.definition)
    if right.interval:
        spread = cluster_bootstrap(
            right.statistic, columns, right.rows["place"].to_numpy(), resamples=resamples, seed=seed
        )
        low, high = _bounds(spread, right.text)
        found = replace(found, interval_low=low, interval_high=high)
    return found


COUNTS = ("rows", "jitter_total", "jitter_kept", "owd_total", "codec_total", "codec_above")
"""Numbers that are counts, about which another set of calls says nothing."""


def _lacking(method: Method, ends: pd.DataFrame) -> str:
    """What is missing, in words; empty if the number can be computed."""
    if ends.empty or any(ends[name].notna().sum() == 0 for name in method.needed):
        return method.needs
    return ""


def _bounds(interval: Interval, text: Callable[[float], str]) -> tuple[str, str]:
    if np.isnan(interval.low):
        return "", ""
    return text(interval.low), text(interval.high)


def metrics_numbers(throughput: pd.DataFrame) -> list[Finding]:
    """What the study's notebook printed for Tor Metrics' throughput table, and the same with failed days included."""
    median = throughput["md"].dropna()
    positive = median[median > 0]
    share = f"{100 * float((positive > 500).mean()):.1f} %"
    why = f"{len(median) - len(positive)} of {len(median)} values are 0 and were dropped"
    rows = (
        ("daily medians", "826", f"{len(positive):,}", ""),
        ("daily medians above 500 kbit/s", "100.0 %", share, f"{100 * float((median > 500).mean()):.1f} %"),
    )
    return [
        Finding(
            group="Throughput",
            condition="Tor Metrics",
            quantity=quantity,
            published=printed,
            recomputed=recomputed,
            agrees=AGREES if printed == recomputed else DIFFERS,
            why=why,
            corrected=corrected,
            interval_low="",
            interval_high="",
            corrected_is="zeros kept as days without throughput" if corrected else "",
            nearest="",
            calls=0,
            places=int(throughput["source"].nunique()),
        )
        for quantity, printed, recomputed, corrected in rows
    ]
