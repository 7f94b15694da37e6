"""One-way delay from two captures whose clocks differ: offset and skew from the packets of both directions.

A packet's arrival on one clock less its sending on the other is its delay plus the clocks' difference, theta(t), which
is a straight line in time. Delay only ever adds: the differences of one direction lie on or above theta + D, those of
the other on or below theta - D', where D and D' are the least one-way delays. Both edges have one slope: the envelope
method of Moon, Skelly and Towsley (INFOCOM 1999) in both directions at once. The estimate is the middle of the widest
strip between the two clouds; where no slope can be told from another, that of slope 0.

Two errors must be told apart:

- How well the envelope was reached. `bound_ms` covers it, if D = D'. It is the largest distance to any line that
  is consistent with what was seen: below (above) all points, with 20 packets (`envelope.REACHED`) of each direction
  as near to it as the lowest ones lie together, enlarged by what order statistics say of how far the true minimum may
  lie beyond them.
- Whether D = D'. Two captures cannot tell: a path that is 10 ms longer one way looks like a clock 5 ms off. What can be
  said is that the error is at most half of the least round trip: `asymmetry_limit_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64
from earwitness.errors import InputError
from earwitness.trace.envelope import Cloud, consistent_lines, widest_strip
from earwitness.trace.model import LOST, UNKNOWN, Trace

MAX_SKEW_PPM = 200.0
"""Two free-running quartz clocks differ by less (100 ppm each)."""
TIMESTAMP_ERROR_MS = 0.02
"""What software timestamps of a capture are off by, at best."""


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
            "estimating the clocks of", f"{out.source}, {back.source}", happened, "give both directions of one call"
        )
    out_rows = out.arrived & (out.sent_ns != UNKNOWN)
    back_rows = back.arrived & (back.sent_ns != UNKNOWN)
    fewest = min(int(out_rows.sum()), int(back_rows.sum()))
    if fewest < 3:
        happened = f"only {fewest} packets of a direction were seen at both ends"
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
    # Turned over, so that here too delay pushes up: -(theta - D').
    down = Cloud(-(back_time - reference) / 1e9, -(back_gap - base) / 1e6)

    half_span = (last - first) / 2e9
    limit = max_skew_ppm * 1e-3
    slope = widest_strip(up, down, limit)
    consistent = consistent_lines(up, down, slope, limit, half_span, timestamp_error_ms)
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
