"""One-way delay if one clock stamped both ends (RFC 7679), delay variation otherwise (RFC 5481)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import F64
from earwitness.trace.model import UNKNOWN, Trace
from earwitness.trace.series import NAN, quantiles


@dataclass(frozen=True)
class DelayStatistics:
    """Statistics of a delay series, ms; NaN where there is none."""

    min_ms: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


NO_DELAY = DelayStatistics(NAN, NAN, NAN, NAN, NAN, NAN)


def one_way_delay_ms(trace: Trace) -> F64:
    """One-way delay of each row of a trace, ms, (n,); NaN if the packet was lost or its sending time is unknown.

    Raises `ValueError` if the two times are from different clocks: estimate the offset first (`clock`).
    """
    if not trace.one_clock:
        raise ValueError(f"sent on clock {trace.sent_clock!r}, arrived on {trace.arrived_clock!r}: different clocks")
    known = trace.arrived & (trace.sent_ns != UNKNOWN)
    delay = np.full(len(trace), NAN)
    delay[known] = (trace.arrived_ns[known] - trace.sent_ns[known]) / 1e6
    return delay


def relative_delay_ms(trace: Trace) -> F64:
    """Delay of each packet that arrived, up to an unknown constant, ms, (k,) in order of arrival.

    Relative to the sending time if it is known, on any clock; otherwise relative to the RTP timestamp, assuming that
    the sender paced its packets by its sampling clock. Drift between the two clocks is included.
    """
    here = trace.take(trace.arrived)
    if len(here) and not (here.sent_ns == UNKNOWN).any():
        return np.asarray((here.arrived_ns - here.sent_ns) / 1e6)
    if not len(here):
        return np.zeros(0)
    ticks = here.timestamp - here.timestamp[0]
    return np.asarray((here.arrived_ns - here.arrived_ns[0]) / 1e6 - ticks * (1e3 / trace.clock_rate))


def ipdv_ms(trace: Trace) -> F64:
    """Inter-packet delay variation: delay minus that of the packet sent before (RFC 5481 4.1), ms, (k,).

    Over pairs of consecutive sequence numbers that both arrived, in order of sending.
    """
    here = trace.take(trace.arrived)
    delay = relative_delay_ms(trace)
    _, first = np.unique(here.sequence, return_index=True)
    together = np.diff(here.sequence[first]) == 1
    return np.asarray(np.diff(delay[first])[together])


def delay_statistics(delay_ms: F64) -> DelayStatistics:
    """Statistics of a delay series, (n,) ms; NaN entries are ignored."""
    known = delay_ms[~np.isnan(delay_ms)]
    if not len(known):
        return NO_DELAY
    least, median, p95, p99, most = quantiles(known, 0.0, 0.5, 0.95, 0.99, 1.0)
    return DelayStatistics(least, float(known.mean()), median, p95, p99, most)
