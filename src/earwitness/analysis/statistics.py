"""Statistics over many calls: quantiles, outlier cuts, correlations, and intervals that account for clustered calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earwitness.arrays import F64


def known(values: ArrayLike) -> F64:
    """The measured values: a 1-D float64 array without NaN."""
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """First quartile, median and third quartile (linear interpolation, NumPy's and pandas' default); NaN if empty."""
    array = known(values)
    if not len(array):
        return (np.nan, np.nan, np.nan)
    low, middle, high = np.quantile(array, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def within_iqr(values: ArrayLike, factor: float = 3.0) -> NDArray[np.bool_]:
    """Which measured values lie within `factor` interquartile ranges of the quartiles (Tukey's fences), (n,) bool."""
    array = np.asarray(values, dtype=np.float64).ravel()
    low, _, high = quartiles(array)
    reach = factor * (high - low)
    with np.errstate(invalid="ignore"):
        return np.asarray((array >= low - reach) & (array <= high + reach), dtype=np.bool_)


def ecdf(values: ArrayLike) -> tuple[F64, F64]:
    """The empirical distribution function: sorted values and the share of values at or below each, both (n,)."""
    array = np.sort(known(values))
    return array, np.arange(1, len(array) + 1, dtype=np.float64) / max(len(array), 1)


@dataclass(frozen=True)
class Correlation:
    """Correlation of two measures over `n` pairs; NaN if there are fewer than three pairs, or one measure is
    constant."""

    pearson: float
    spearman: float
    kendall: float
    n: int


def correlate(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Pearson's r, Spearman's rho and Kendall's tau-b over the pairs with both values; x, y (n,)."""
    first, second = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = first[both], second[both]
    n = len(first)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(np.nan, np.nan, np.nan, n)
    from scipy import stats  # a second to import, which comparisons and plans do not need

    return Correlation(
        float(stats.pearsonr(first, second).statistic),
        float(stats.spearmanr(first, second).statistic),
        float(stats.kendalltau(first, second).statistic),
        n,
    )


@dataclass(frozen=True)
class Interval:
    """A percentile-bootstrap interval: the share `level` of the resampled values of a statistic lies in it."""

    low: float
    high: float
    level: float = 0.95
    clusters: int = 0


def cluster_bootstrap(
    statistic: Callable[..., float],
    columns: Sequence[ArrayLike],
    clusters: ArrayLike,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Confidence interval of a statistic, as if the study had used other places of the same kind.

    Whole clusters (places) are drawn with replacement, with all their calls, as many as there are: calls between two
    cities share circuits, days and faults and are not independent. `statistic` takes the columns (each (n,)) of a
    resample; `clusters` (n,) are labels; the interval is the percentile interval. NaN with fewer than two clusters,
    because one place says nothing about others. The same seed gives the same interval.

    Source: Field & Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007) 369-390.
    """
    labels, index = np.unique(np.asarray(clusters), return_inverse=True)
    if len(labels) < 2:
        return Interval(np.nan, np.nan, level, len(labels))
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index, minlength=len(labels)))[:-1])
    arrays: list[NDArray[Any]] = [np.asarray(column) for column in columns]
    generator = np.random.default_rng(seed)
    values = np.empty(resamples)
    for turn in range(resamples):
        rows = np.concatenate([members[pick] for pick in generator.integers(0, len(labels), len(labels))])
        values[turn] = statistic(*(array[rows] for array in arrays))
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan, level, len(labels))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Interval(float(low), float(high), level, len(labels))
