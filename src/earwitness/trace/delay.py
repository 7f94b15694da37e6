"""One-way delay if one clock stamped both ends (RFC 7679), delay variation otherwise (RFC 5481)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import F64, I64
from earwitness.trace.model import UNKNOWN, Trace
from earwitness.trace.series import NAN, ArrivalSeries, arrivals, quantiles


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


def relative_delay_ms(trace: Trace, here: ArrivalSeries | None = None) -> F64:
    """Delay of each packet that arrived, up to an unknown constant, ms, (k,) in order of arrival.

    Relative to the sending time if it is known, on any clock; otherwise relative to the RTP timestamp on the joined
    timeline, assuming that the sender paced its packets by its sampling clock; then only of the packets that carry
    speech, each once. Drift between the two clocks is included. `here`: its arrivals, if known.
    """
    return _relative(trace, here)[0]


def delay_variation_ms(trace: Trace, here: ArrivalSeries | None = None) -> F64:
    """`relative_delay_ms` less the least of its part of the sender's numbering (RFC 5481 4.2), ms, (k,)."""
    delay, part, _ = _relative(trace, here)
    if not len(delay):
        return delay
    if not part.any():
        return np.asarray(delay - delay.min())
    least = np.full(int(part.max()) + 1, np.inf)
    np.minimum.at(least, part, delay)
    return np.asarray(delay - least[part])


def _relative(trace: Trace, series: ArrivalSeries | None = None) -> tuple[F64, I64, I64]:
    """The delay up to a constant, the part and the sequence number of each packet considered, (k,) each."""
    if trace.sending_times_known:
        here = trace.received
        return np.asarray((here.arrived_ns - here.sent_ns) / 1e6), np.zeros(len(here), np.int64), here.sequence
    counted = (arrivals(trace) if series is None else series).counted
    if not len(counted):
        return np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
    ticks = counted.timestamp - counted.timestamp[0]
    delay = (counted.arrived_ns - counted.arrived_ns[0]) / 1e6 - ticks * (1e3 / trace.clock_rate)
    return np.asarray(delay), counted.part, counted.sequence


def ipdv_ms(trace: Trace) -> F64:
    """Inter-packet delay variation: delay minus that of the packet sent before (RFC 5481 4.1), ms, (k,).

    Over pairs of consecutive sequence numbers that both arrived, in order of sending.
    """
    delay, _, sequence = _relative(trace)
    _, first = np.unique(sequence, return_index=True)
    together = np.diff(sequence[first]) == 1
    return np.asarray(np.diff(delay[first])[together])


def delay_statistics(delay_ms: F64) -> DelayStatistics:
    """Statistics of a delay series, (n,) ms; NaN entries are ignored."""
    missing = np.isnan(delay_ms)
    known = delay_ms[~missing] if missing.any() else delay_ms
    if not len(known):
        return NO_DELAY
    least, median, p95, p99, most = quantiles(known, 0.0, 0.5, 0.95, 0.99, 1.0)
    return DelayStatistics(least, float(known.mean()), median, p95, p99, most)
