"""One-way delay from two captures with different clocks: estimates offset and skew from the packets of both directions.

A packet's arrival on one clock minus its sending time on the other is its delay plus the clock difference theta(t),
which is linear in time. Delay is never negative: the differences of one direction lie on or above theta + D, those of
the other on or below theta - D', where D and D' are the minimum one-way delays. Both edges have the same slope. This is
the envelope method of Moon, Skelly and Towsley (INFOCOM 1999), applied to both directions at once. The estimate is the
middle of the widest strip between the two clouds; if the data do not determine the slope, slope 0 is used.

There are two sources of error:

- How closely the envelope was reached. `bound_ms` covers this, if D = D'. It is the largest distance to any line that
  is consistent with the data: below (above) all points, with 20 packets (`envelope.REACHED`) of each direction as close
  to it as the lowest ones lie together, enlarged by the distance, from order statistics, by which the true minimum may
  lie beyond them.
- Whether D = D'. Two captures cannot determine this: a path that is 10 ms longer one way looks like a clock 5 ms off.
  The error is at most half of the minimum round trip: `asymmetry_limit_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64
from earwitness.errors import InputError
from earwitness.trace.envelope import Cloud, consistent_lines, widest_strip
from earwitness.trace.model import LOST, UNKNOWN, Trace

MAX_SKEW_PPM = 200.0
"""Two free-running quartz clocks differ by less than this (100 ppm each)."""
TIMESTAMP_ERROR_MS = 0.02
"""Best-case error of software capture timestamps."""


@dataclass(frozen=True)
class ClockEstimate:
    """The clock of the remote end relative to the local one: there = here + offset + skew * (here - reference).

    - `offset_ns` at `reference_ns` on the clock `here`; `skew_ppm`: parts per million by which `there` runs fast.
    - `bound_ms`: largest error of a one-way delay computed with it, with a probability of at least 99 %, if the minimum
      delays of the two directions are equal.
    - `asymmetry_limit_ms`: additional error if they are not: half of the minimum round trip.
    - `reached_out`, `reached_back`: packets of each direction within 1 ms of the minimum delay.
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
        """The bound that holds for any path: `bound_ms + asymmetry_limit_ms`."""
        return self.bound_ms + self.asymmetry_limit_ms

    def to_here(self, there_ns: I64) -> I64:
        """Convert times of the remote clock to the local one, (n,) ns; `UNKNOWN` is kept."""
        since = there_ns - (self.reference_ns + self.offset_ns)
        moved = self.reference_ns + np.rint(since / (1 + self.skew_ppm * 1e-6)).astype(np.int64)
        return np.where(there_ns == UNKNOWN, UNKNOWN, moved)


def estimate_clock(
    out: Trace,
    back: Trace,
    *,
    max_skew_ppm: float = MAX_SKEW_PPM,
    timestamp_error_ms: float = TIMESTAMP_ERROR_MS,
) -> ClockEstimate:
    """Estimate offset and skew between the clocks of the two ends of a call.

    `out` is the paired trace (see `pair`) of the direction from here to there, `back` of the other: `out.sent_clock` is
    the local clock, `out.arrived_clock` the remote one, and vice versa for `back`. Both clocks are assumed to run
    evenly during the call (no step). Raises `InputError` if the clock names do not match this, or if a direction has
    fewer than 3 packets seen at both ends.
    """
    if (out.sent_clock, out.arrived_clock) != (back.arrived_clock, back.sent_clock):
        happened = f"{out.sent_clock} > {out.arrived_clock} and {back.sent_clock} > {back.arrived_clock} do not match"
        raise InputError(
            "estimating the clocks of", f"{out.source}, {back.source}", happened, "give both directions of one call"
        )
    out_rows = out.arrived & (out.sent_ns != UNKNOWN)
    back_rows = back.arrived & (back.sent_ns != UNKNOWN)
    fewest = min(int(out_rows.sum()), int(back_rows.sum()))
    if fewest < 3:
        happened = f"only {fewest} packets of one direction were seen at both ends"
        raise InputError(
            "estimating the clocks of", f"{out.source}, {back.source}", happened, "use captures of a whole call"
        )
    out_time, back_time = out.sent_ns[out_rows], back.arrived_ns[back_rows]
    first = min(int(out_time.min()), int(back_time.min()))
    last = max(int(out_time.max()), int(back_time.max()))
    reference = (first + last) // 2
    out_gap = out.arrived_ns[out_rows] - out_time
    back_gap = back.sent_ns[back_rows] - back_time
    base = int(out_gap.min())
    up = Cloud((out_time - reference) / 1e9, (out_gap - base) / 1e6)
    # Negated, so that delay pushes up here too: -(theta - D').
    down = Cloud(-(back_time - reference) / 1e9, -(back_gap - base) / 1e6)

    half_span = (last - first) / 2e9
    limit = max_skew_ppm * 1e-3
    slope = widest_strip(up, down, limit)
    consistent = consistent_lines(up, down, slope, limit, half_span, timestamp_error_ms)
    if consistent.slopes.min() < -0.95 * limit and consistent.slopes.max() > 0.95 * limit:
        slope = 0.0  # The data do not determine the skew; clocks disciplined by NTP have almost none.
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
    """The trace with the times of the remote clock converted to the local one, so that delays can be computed.

    Raises `ValueError` if the trace's clocks match neither direction of the estimate.
    """
    note = (
        f"clock of {estimate.there} converted to that of {estimate.here}: delays within {estimate.bound_ms:.2f} ms"
        f" if the path is symmetric, within {estimate.error_ms:.2f} ms if not"
    )
    notes = (*trace.notes, note)
    if (trace.sent_clock, trace.arrived_clock) == (estimate.here, estimate.there):
        moved = estimate.to_here(trace.arrived_ns)
        return replace(trace, arrived_ns=np.where(trace.arrived, moved, LOST), arrived_clock=estimate.here, notes=notes)
    if (trace.sent_clock, trace.arrived_clock) == (estimate.there, estimate.here):
        return replace(trace, sent_ns=estimate.to_here(trace.sent_ns), sent_clock=estimate.here, notes=notes)
    raise ValueError(f"clocks {trace.sent_clock!r}, {trace.arrived_clock!r} are not those of the estimate")
