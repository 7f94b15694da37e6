"""One-way delay from two captures whose clocks differ: offset and skew from the packets of both directions.

A packet's arrival on one clock less its sending on the other is its delay plus the clocks' difference, theta(t), which
is a straight line in time. Delay only ever adds: the differences of one direction lie on or above theta + D, those of
the other on or below theta - D', where D and D' are the least one-way delays. Both edges have one slope: the envelope
method of Moon, Skelly and Towsley (INFOCOM 1999) in both directions at once. The estimate is the middle of the widest
strip between the two clouds; where no slope can be told from another, that of slope 0.

Two errors must be told apart:

- How well the envelope was reached. `bound_ms` covers it, if D = D'. It is the largest distance to any line that
  is consistent with what was seen: below (above) all points, with `REACHED` packets of each direction as near to it as
  the lowest ones lie together, enlarged by what order statistics say of how far the true minimum may lie beyond them.
- Whether D = D'. Two captures cannot tell: a path that is 10 ms longer one way looks like a clock 5 ms off. What can be
  said is that the error is at most half of the least round trip: `asymmetry_limit_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earwitness.errors import InputError
from earwitness.trace.model import I64, LOST, UNKNOWN, Trace
from earwitness.trace.series import F64

REACHED = 20
"""How many of the fastest packets of a direction tell how well its least delay was reached."""
MAX_SKEW_PPM = 200.0
"""Two free-running quartz clocks differ by less (100 ppm each)."""
TIMESTAMP_ERROR_MS = 0.02
"""What software timestamps of a capture are off by, at best."""
_MOST_INTERVALS = 2048
_MISS = 1e-3
"""Accepted probability that a direction's true minimum lies further out than allowed for."""
_TAIL = 2.0
"""Shape of the delay's density at its minimum that is allowed for: 1 if it starts at once, 2 if it rises linearly from
nothing (two independent queues in series)."""


@dataclass(frozen=True)
class ClockEstimate:
    """How the far end's clock differs: there = here + offset + skew * (here - reference).

    - `offset_ns` at `reference_ns` on the clock `here`; `skew_ppm` parts per million that `there` runs fast.
    - `bound_ms`: no one-way delay computed with it is further off, if the least delays of the two directions are equal,
      with a probability of at least 99 %.
    - `asymmetry_limit_ms`: how much more it may be off if they are not: half of the least round trip.
    - `reached_out`, `reached_back`: packets of each direction within 1 ms of the least delay.
    """

    here: str
    there: str
    reference_ns: int
    offset_ns: int
    skew_ppm: float
    bound_ms: float
    asymmetry_limit_ms: float
    rtt_min_ms: float
    reached_out: int
    reached_back: int

    @property
    def error_ms(self) -> float:
        """The bound that holds whatever the path: `bound_ms + asymmetry_limit_ms`."""
        return self.bound_ms + self.asymmetry_limit_ms

    def to_here(self, there_ns: I64) -> I64:
        """Times of the far clock on the near one, (n,) ns; `UNKNOWN` stays."""
        since = there_ns - (self.reference_ns + self.offset_ns)
        moved = self.reference_ns + np.rint(since / (1 + self.skew_ppm * 1e-6)).astype(np.int64)
        return np.where(there_ns == UNKNOWN, UNKNOWN, moved)


@dataclass(frozen=True)
class _Cloud:
    """One direction's differences, turned so that delay pushes them up: time in s, value in ms; (n,)."""

    time: F64
    value: F64

    def residuals(self, slopes: F64) -> F64:
        """Values less a line of each slope (m,) in ms/s: (m, n)."""
        return np.asarray(self.value - slopes[:, None] * self.time)


def estimate_clock(
    out: Trace,
    back: Trace,
    *,
    max_skew_ppm: float = MAX_SKEW_PPM,
    timestamp_error_ms: float = TIMESTAMP_ERROR_MS,
) -> ClockEstimate:
    """Offset and skew between the clocks of the two ends of a call.

    `out` is the paired trace (see `pair`) of the direction from here to there, `back` of the other: `out.sent_clock` is
    the near clock, `out.arrived_clock` the far one, and for `back` the other way round. Both clocks are taken to run
    evenly for the length of the call (no step). Raises `InputError` where the clocks do not fit together so, or where a
    direction has fewer than 3 packets seen at both ends.
    """
    if (out.sent_clock, out.arrived_clock) != (back.arrived_clock, back.sent_clock):
        happened = (
            f"{out.sent_clock} > {out.arrived_clock} and {back.sent_clock} > {back.arrived_clock} are not one pair"
        )
        raise InputError(
            "estimate clocks of", f"{out.source}, {back.source}", happened, "give both directions of one call"
        )
    out_rows = out.arrived & (out.sent_ns != UNKNOWN)
    back_rows = back.arrived & (back.sent_ns != UNKNOWN)
    fewest = min(int(out_rows.sum()), int(back_rows.sum()))
    if fewest < 3:
        happened = f"only {fewest} packets of a direction were seen at both ends"
        raise InputError("estimate clocks of", f"{out.source}, {back.source}", happened, "use captures of a whole call")
    out_time, back_time = out.sent_ns[out_rows], back.arrived_ns[back_rows]
    first = min(int(out_time.min()), int(back_time.min()))
    last = max(int(out_time.max()), int(back_time.max()))
    reference = (first + last) // 2
    out_gap = out.arrived_ns[out_rows] - out_time
    back_gap = back.sent_ns[back_rows] - back_time
    base = int(out_gap.min())
    up = _Cloud((out_time - reference) / 1e9, (out_gap - base) / 1e6)
    # Turned over, so that here too delay pushes up: -(theta - D').
    down = _Cloud(-(back_time - reference) / 1e9, -(back_gap - base) / 1e6)

    half_span = (last - first) / 2e9
    limit = max_skew_ppm * 1e-3
    slope = _widest(up, down, limit)
    consistent = _consistent(up, down, slope, limit, half_span, timestamp_error_ms)
    if consistent.slopes.min() < -0.95 * limit and consistent.slopes.max() > 0.95 * limit:
        slope = 0.0  # Nothing was told of the skew: clocks kept by NTP have next to none.
    low_up, low_down = (float(cloud.residuals(np.array([slope])).min()) for cloud in (up, down))
    offset_ms = (low_up - low_down) / 2
    rtt_min = low_up + low_down
    reached = [int(np.count_nonzero(cloud.residuals(np.array([slope])) <= least + 1.0))
               for cloud, least in ((up, low_up), (down, low_down))]  # fmt: skip
    return ClockEstimate(
        here=out.sent_clock,
        there=out.arrived_clock,
        reference_ns=reference,
        offset_ns=base + round(offset_ms * 1e6),
        skew_ppm=slope * 1e3,
        bound_ms=consistent.furthest(slope, offset_ms, half_span) + timestamp_error_ms,
        asymmetry_limit_ms=max(0.0, rtt_min / 2),
        rtt_min_ms=rtt_min,
        reached_out=reached[0],
        reached_back=reached[1],
    )


def on_one_clock(trace: Trace, estimate: ClockEstimate) -> Trace:
    """The trace with the times of the far clock put on the near one, so that its delays can be read.

    Raises `ValueError` where the trace has neither the one nor the other direction's clocks.
    """
    note = (
        f"clock of {estimate.there} put on that of {estimate.here}: delays within {estimate.bound_ms:.2f} ms if the"
        f" path is symmetric, within {estimate.error_ms:.2f} ms if not"
    )
    notes = (*trace.notes, note)
    if (trace.sent_clock, trace.arrived_clock) == (estimate.here, estimate.there):
        moved = estimate.to_here(trace.arrived_ns)
        return replace(trace, arrived_ns=np.where(trace.arrived, moved, LOST), arrived_clock=estimate.here, notes=notes)
    if (trace.sent_clock, trace.arrived_clock) == (estimate.there, estimate.here):
        return replace(trace, sent_ns=estimate.to_here(trace.sent_ns), sent_clock=estimate.here, notes=notes)
    raise ValueError(f"clocks {trace.sent_clock!r}, {trace.arrived_clock!r} are not those of the estimate")


def _widest(up: _Cloud, down: _Cloud, limit: float) -> float:
    """The slope, within +-limit ms/s, of the widest strip between the clouds.

    The width is concave and piecewise linear in the slope: its maximum is where the width's own slope changes sign, and
    the middle of it where that is flat.
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


def _lower_hull(cloud: _Cloud) -> _Cloud:
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
    return _Cloud(np.array([time[i] for i in hull]), np.array([value[i] for i in hull]))


@dataclass(frozen=True)
class _Consistent:
    """The lines that agree with what was seen: slopes (m,) in ms/s, and between what offsets (ms) for each."""

    slopes: F64
    low: F64
    high: F64
    slack: float
    """What may be missed between two slopes, ms."""

    def furthest(self, slope: float, offset: float, half_span: float) -> float:
        """The largest distance, at either end of the call, from a line to any of these, ms."""
        worst = 0.0
        for end in (-half_span, half_span):
            here = (slope - self.slopes) * end + offset
            apart = np.maximum(np.abs(here - self.low), np.abs(here - self.high)) + self.slack
            worst = max(worst, float(apart.max(initial=0.0)))
        return worst


def _consistent(up: _Cloud, down: _Cloud, slope: float, limit: float, half_span: float, error_ms: float) -> _Consistent:
    """All lines that agree with both clouds as the module's text says, `slope` being that of the widest strip.

    The slopes are searched by halving intervals, leaving out those that cannot hold one: residuals change by no more
    than the slope times half the call's length.
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
            # The true line lies between the lowest point and `width` under the highest of the lowest ones.
            furthest = np.minimum(kth - width, least)
            low += (furthest if sign > 0 else -least) / 2
            high += (least if sign > 0 else -furthest) / 2
        centre, low, high = centre[possible], low[possible], high[possible]
        if slack <= tolerance or len(centre) > _MOST_INTERVALS:
            return _Consistent(centre, low, high, 2 * slack)
        half /= 2
        centre = np.concatenate((centre - half, centre + half))


def _lowest(cloud: _Cloud, slopes: F64, reached: int) -> tuple[F64, F64]:
    """The lowest and the `reached`-th lowest residual for each slope (m,), in pieces of bounded memory."""
    least, kth = np.empty(len(slopes)), np.empty(len(slopes))
    piece = max(1, 2_000_000 // max(1, len(cloud.time)))
    for begin in range(0, len(slopes), piece):
        ordered = np.partition(cloud.residuals(slopes[begin : begin + piece]), (0, reached - 1), axis=1)
        least[begin : begin + piece], kth[begin : begin + piece] = ordered[:, 0], ordered[:, reached - 1]
    return least, kth


def _beyond(reached: int) -> float:
    """How far beyond the lowest point the true minimum may lie, in units of the spread of the `reached` lowest points.

    For a density that starts at once, (x1 - x0) / (xk - x1) exceeds r with probability (1 + r) ** (1 - k); one that
    rises as a power of the distance is that one with distances raised to `_TAIL`.
    """
    ratio = _MISS ** (-1 / (reached - 1)) - 1
    return float(1 / ((1 + 1 / ratio) ** (1 / _TAIL) - 1))


def _could_be_low(cloud: _Cloud, limit: float, half_span: float) -> _Cloud:
    """Only the points that can be among the `REACHED` lowest for some slope within +-limit.

    Within a slice of time, a point higher than `REACHED` others by more than the slope can make up never is.
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
    return _Cloud(cloud.time[keep], cloud.value[keep])
