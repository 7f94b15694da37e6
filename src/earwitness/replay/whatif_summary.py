"""Summary of what-ifs: one row per path, codec and buffer, with intervals over places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from earwitness.analysis.statistics import Interval
from earwitness.arrays import F64

GOOD_MOS = 3.0
"""The published study's threshold of a good call."""

MEASURES = ("share_above_3", "mos_lqo", "playout_delay_ms", "mouth_to_ear_ms", "mos_cqe", "mos_cqe_heard")
"""Means with intervals: the share of directions above `GOOD_MOS`, and means of the columns with these names."""

SUMMARY = (
    "condition",
    "path",
    "hops",
    "codec",
    "buffer",
    "kind",
    "n",
    "scored",
    "places",
    *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")),
    "mouth_to_ear_basis",
    "late_ratio",
    "lost_ratio",
    "concealed_ratio",
)
"""Columns of the summary. `n`: directions; `scored`: those with a score, over which the means are taken."""


def summarise_whatif(
    calls: pd.DataFrame, buffers: Sequence[str], *, resamples: int = 1000, seed: int = 1
) -> pd.DataFrame:
    """One row per path, codec and buffer (in the order of `buffers`), with columns `SUMMARY`.

    Intervals are 95 % percentile bootstrap intervals over calls clustered by place; NaN with fewer than two places.
    """
    order = {spec: position for position, spec in enumerate(buffers)}
    records = []
    groups = calls.groupby(["condition", "codec", "buffer"], sort=False)
    for key, group in sorted(groups, key=lambda one: (one[0][0], one[0][1], order[str(one[0][2])])):
        condition, codec, buffer = key
        scored = group[group["mos_lqo"].notna()]
        bases = sorted(set(scored["mouth_to_ear_basis"]) - {""})
        record: dict[str, Any] = {
            "condition": condition,
            "path": group["path"].iloc[0],
            "hops": group["hops"].iloc[0],
            "codec": codec,
            "buffer": buffer,
            "kind": group["kind"].iloc[0],
            "n": len(group),
            "scored": len(scored),
            "places": scored["place"].nunique(),
            "mouth_to_ear_basis": bases[0] if len(bases) == 1 else ", ".join(bases),
        }
        for name in MEASURES:
            values = _values(scored, name)
            interval = mean_interval(values, scored["place"].to_numpy(), resamples=resamples, seed=seed)
            record |= {name: _mean(values), f"{name}_low": interval.low, f"{name}_high": interval.high}
        record |= {name: _mean(scored[name].to_numpy()) for name in ("late_ratio", "lost_ratio", "concealed_ratio")}
        records.append(record)
    return pd.DataFrame(records, columns=list(SUMMARY))


def mean_interval(
    values: F64, clusters: NDArray[Any], *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """`statistics.cluster_bootstrap` of the mean with the same draws, so the same interval, computed from cluster
    sums."""
    known = ~np.isnan(values)
    labels, index = np.unique(clusters[known].astype(str), return_inverse=True)
    if len(labels) < 2:
        return Interval(np.nan, np.nan, level, len(labels))
    sums = np.bincount(index, weights=values[known])
    counts = np.bincount(index)
    picks = np.random.default_rng(seed).integers(0, len(labels), (resamples, len(labels)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(low), float(high), level, len(labels))


def _values(scored: pd.DataFrame, name: str) -> F64:
    if name == "share_above_3":
        return np.asarray(scored["mos_lqo"] > GOOD_MOS, dtype=np.float64)
    return np.asarray(scored[name], dtype=np.float64)


def _mean(values: F64) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if len(known) else float("nan")
