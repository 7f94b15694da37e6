"""The smallest difference that a paired study can detect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special


@dataclass(frozen=True)
class Variance:
    """Variation of paired differences: standard deviation, and the share of the variance that is between places."""

    sd: float
    icc: float
    pairs: int = 0
    places: int = 0
    source: str = "assumed"


def smallest_difference(
    pairs: int, places: int, variance: Variance, *, alpha: float = 0.05, power: float = 0.8, comparisons: int = 1
) -> float:
    """The true mean difference that a two-sided paired test at level `alpha` detects with probability `power`.

    Pairs between the same two places are not independent: n pairs over k places are worth
    n / (1 + (n/k - 1) icc) (Donner & Klar, "Design and Analysis of Cluster Randomization Trials", 2000, ch. 5). The
    test statistic is then noncentral t with k - 1 degrees of freedom and noncentrality d sqrt(n_eff) / sd (Julious,
    "Sample sizes for clinical trials", 2010, ch. 3). With one place the result applies to these two cities only: n - 1
    degrees of freedom, no correction. `comparisons` divides `alpha` (Bonferroni). Infinite with fewer than two pairs.
    """
    if pairs < 2:
        return math.inf
    effective = pairs / (1.0 + (pairs / places - 1.0) * variance.icc) if places > 1 else float(pairs)
    degrees = places - 1 if places > 1 else pairs - 1
    critical = float(special.stdtrit(degrees, 1.0 - alpha / comparisons / 2.0))
    # Given the estimate s of the standard deviation, the statistic is normal; s sqrt(k - 1) / sd has a chi
    # distribution, here as 4,000 equally likely values (SciPy's noncentral t fails at few degrees of freedom; `chdtri`
    # takes the upper tail, and the grid is symmetric).
    estimates = np.sqrt(special.chdtri(degrees, (np.arange(4000) + 0.5) / 4000) / degrees)

    def lacking(noncentrality: float) -> float:
        found = special.ndtr(noncentrality - critical * estimates) + special.ndtr(-critical * estimates - noncentrality)
        return float(np.mean(found)) - power

    highest = 2.0 * critical + 4.0
    while lacking(highest) < 0.0:
        highest *= 2.0
    noncentrality = float(optimize.brentq(lacking, 0.0, highest, xtol=1e-6))
    return noncentrality * variance.sd / math.sqrt(effective)


def variance_of(differences: ArrayLike, places: ArrayLike, source: str = "pilot") -> Variance:
    """Standard deviation and intraclass correlation of paired differences (n,) measured between `places` (n,).

    The correlation comes from a one-way analysis of variance (Donner & Klar 2000, eq. 1.3); it is 0 if that is
    negative, or if no places have two pairs. NaN with fewer than two pairs.
    """
    values, labels = np.asarray(differences, dtype=np.float64), np.asarray(places)
    keep = np.isfinite(values)
    values, labels = values[keep], labels[keep]
    names, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n, k = len(values), len(names)
    if n < 2:
        return Variance(math.nan, 0.0, n, k, source)
    sd = float(np.std(values, ddof=1))
    if k < 2 or n == k or sd == 0.0:
        return Variance(sd, 0.0, n, k, source)
    means = np.bincount(index, values) / counts
    between = float(np.sum(counts * (means - values.mean()) ** 2)) / (k - 1)
    within = float(np.sum((values - means[index]) ** 2)) / (n - k)
    typical = (n - float(np.sum(counts**2)) / n) / (k - 1)
    icc = (between - within) / (between + (typical - 1.0) * within)
    return Variance(sd, min(1.0, max(0.0, icc)), n, k, source)
