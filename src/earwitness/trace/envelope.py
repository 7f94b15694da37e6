"""The geometry behind `clock`: two point clouds separated by lines of one slope.

The differences of one direction lie above a line that they touch now and then; this module finds that line and all
lines that are consistent with the points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64

REACHED = 20
"""How many of a direction's fastest packets indicate how closely its minimum delay was reached."""
_MOST_INTERVALS = 2048
_MISS = 1e-3
"""Accepted probability that a direction's true minimum lies beyond the margin."""
_TAIL = 2.0
"""Assumed shape of the delay density at its minimum: 1 if it starts with a step, 2 if it rises linearly from zero (two
independent queues in series)."""


@dataclass(frozen=True)
class Cloud:
    """One direction's differences, oriented so that delay pushes them up: time in s, value in ms; (n,)."""

    time: F64
    value: F64

    def residuals(self, slopes: F64) -> F64:
        """Values minus a line of each slope (m,) in ms/s: (m, n)."""
        return np.asarray(self.value - slopes[:, None] * self.time)


def widest_strip(up: Cloud, down: Cloud, limit: float) -> float:
    """The slope, within +-limit ms/s, of the widest strip between the clouds.

    The width is concave and piecewise linear in the slope: its maximum is where its derivative changes sign, or the
    middle of the flat part.
    """
    clouds = (_lower_hull(up), _lower_hull(down))

    def rise(slope: float, later: bool) -> float:
        """How the width changes just above (or below) this slope."""
        total = 0.0
        for cloud in clouds:
            residual = cloud.value - slope * cloud.time
            touching = cloud.time[residual <= residual.min() + 1e-9]
            total -= float(touching.max() if later else touching.min())
        return total

    edges = []
    for later in (True, False):
        low, high = -limit, limit
        for _ in range(60):
            middle = (low + high) / 2
            if rise(middle, later) > (0.0 if later else -1e-12):
                low = middle
            else:
                high = middle
        edges.append((low + high) / 2)
    return sum(edges) / 2


def _lower_hull(cloud: Cloud) -> Cloud:
    """The lower convex hull: only its corners can touch a line from below."""
    order = np.lexsort((cloud.value, cloud.time))
    time, value = cloud.time[order].tolist(), cloud.value[order].tolist()
    hull: list[int] = []
    for i in range(len(time)):
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            if (value[b] - value[a]) * (time[i] - time[a]) >= (value[i] - value[a]) * (time[b] - time[a]):
                hull.pop()
            else:
                break
        hull.append(i)
    return Cloud(np.array([time[i] for i in hull]), np.array([value[i] for i in hull]))


@dataclass(frozen=True)
class Consistent:
    """The lines consistent with the observations: slopes (m,) in ms/s, and the range of offsets (ms) for each."""

    slopes: F64
    low: F64
    high: F64
    slack: float
    """Largest error between two neighbouring slopes, ms."""

    def furthest(self, slope: float, offset: float, half_span: float) -> float:
        """The largest distance from a line to any of these, at either end of the call, ms."""
        worst = 0.0
        for end in (-half_span, half_span):
            here = (slope - self.slopes) * end + offset
            apart = np.maximum(np.abs(here - self.low), np.abs(here - self.high)) + self.slack
            worst = max(worst, float(apart.max(initial=0.0)))
        return worst


def consistent_lines(
    up: Cloud, down: Cloud, slope: float, limit: float, half_span: float, error_ms: float
) -> Consistent:
    """All lines below a cloud that are as close to its `REACHED` lowest points as these lie together, enlarged by how
    far the true minimum may lie beyond them. Both clouds share one slope; `slope` is that of the widest strip.

    The slopes are searched by bisection, discarding intervals that cannot contain a solution: a residual changes by no
    more than the change of slope times half the call's length.
    """
    sides = []
    for cloud in (up, down):
        reached = min(REACHED, max(2, len(cloud.time) // 10))
        ordered = np.sort(cloud.residuals(np.array([slope]))[0])
        spread = float(ordered[reached - 1] - ordered[0])
        sides.append((_could_be_low(cloud, limit, half_span), reached, spread * (1 + _beyond(reached)) + 2 * error_ms))
    tolerance = max(error_ms / 4, 1e-6)
    centre, half = np.linspace(-limit, limit, 65)[:-1] + limit / 64, limit / 64
    while True:
        slack = half * half_span
        low, high = np.zeros(len(centre)), np.zeros(len(centre))
        possible = np.ones(len(centre), dtype=bool)
        for sign, (cloud, reached, width) in zip((1, -1), sides, strict=True):
            least, kth = _lowest(cloud, centre, reached)
            possible &= kth - least - 2 * slack <= width
            # The true line lies between the lowest point and `width` below the `reached`-th lowest.
            furthest = np.minimum(kth - width, least)
            low += (furthest if sign > 0 else -least) / 2
            high += (least if sign > 0 else -furthest) / 2
        centre, low, high = centre[possible], low[possible], high[possible]
        if slack <= tolerance or len(centre) > _MOST_INTERVALS:
            return Consistent(centre, low, high, 2 * slack)
        half /= 2
        centre = np.concatenate((centre - half, centre + half))


def _lowest(cloud: Cloud, slopes: F64, reached: int) -> tuple[F64, F64]:
    """The lowest and the `reached`-th lowest residual for each slope (m,), computed in chunks to bound memory."""
    least, kth = np.empty(len(slopes)), np.empty(len(slopes))
    piece = max(1, 2_000_000 // max(1, len(cloud.time)))
    for begin in range(0, len(slopes), piece):
        ordered = np.partition(cloud.residuals(slopes[begin : begin + piece]), (0, reached - 1), axis=1)
        least[begin : begin + piece], kth[begin : begin + piece] = ordered[:, 0], ordered[:, reached - 1]
    return least, kth


def _beyond(reached: int) -> float:
    """How far beyond the lowest point the true minimum may lie, in units of the spread of the `reached` lowest points.

    For a density that starts with a step, (x1 - x0) / (xk - x1) exceeds r with probability (1 + r) ** (1 - k). A
    density that rises as a power of the distance is the same with distances raised to `_TAIL`.
    """
    ratio = _MISS ** (-1 / (reached - 1)) - 1
    return float(1 / ((1 + 1 / ratio) ** (1 / _TAIL) - 1))


def _could_be_low(cloud: Cloud, limit: float, half_span: float) -> Cloud:
    """Only the points that can be among the `REACHED` lowest for some slope within +-limit.

    Within a time slice, a point that lies above `REACHED` others by more than the slope can compensate never is.
    """
    slices = int(np.clip(2 * half_span, 1, 1024))
    if len(cloud.time) <= 4 * REACHED:
        return cloud
    span = 2 * half_span / slices
    number = np.minimum(((cloud.time + half_span) / max(span, 1e-12)).astype(np.int64), slices - 1)
    order = np.lexsort((cloud.value, number))
    counts = np.bincount(number, minlength=slices)
    begin = np.cumsum(counts) - counts
    kth = cloud.value[order][np.minimum(begin + REACHED, begin + counts - 1).clip(0, len(order) - 1)]
    keep: NDArray[np.bool_] = cloud.value <= kth[number] + limit * span + 1e-9
    return Cloud(cloud.time[keep], cloud.value[keep])
