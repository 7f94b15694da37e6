"""Interarrival jitter (RFC 3550 6.4.1) in three common variants, each with its own name.

- `jitter_ms`: the estimator in floating point, per packet, from 0 at the first packet. The rows of a data set hold
  this.
- `jitter_units`: the integer arithmetic of RFC 3550 A.8, in RTP timestamp units, as in RTCP reports.
- `as_published`: the study's statistics: `jitter_ms` with every value rounded to 3 decimals first.

Wireshark's variant is in `wireshark`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import F64, I64
from earwitness.trace.model import Trace
from earwitness.trace.series import NAN, ArrivalSeries, arrivals, mean_and_deviation, quantiles
from earwitness.trace.steps import steps

_KEPT = 15 / 16
"""Weight of the previous estimate when a packet arrives."""
_FORGOTTEN_AFTER = 64
"""Packets after which A.8's estimate no longer depends on the doubt in the state before them, but for chance."""
_ROUNDED = 25
"""The most by which A.8's state, 16 times its estimate, differs from that in floating point: by half a unit of the
state and one of the arrival at each packet, of which a sixteenth is forgotten at the next."""
_MOST_UNITS = 2**31
"""Thousandths of a unit: while no estimate is larger, no change needs more than the report's 32 bits."""
_BLOCK = 256
_DECAY = _KEPT ** np.arange(_BLOCK)
_GROWTH = _KEPT ** -np.arange(_BLOCK, dtype=np.float64) / 16


@dataclass(frozen=True)
class JitterStatistics:
    """Statistics over the per-packet jitter series, ms: the six columns of the published tables."""

    mean_ms: float
    median_ms: float
    max_ms: float
    range_ms: float
    iqr_ms: float
    std_dev_ms: float
    """Sample standard deviation (n - 1)."""
    packets: int


def transit_change_ms(trace: Trace | ArrivalSeries) -> F64:
    """D(i-1, i) of RFC 3550 6.4.1 in ms, (k - 1,): how much longer packet i travelled than the counted one before it.

    Counted are the k packets whose pace is the sender's (`ArrivalSeries.counts`). Zero where the sender's numbering
    breaks, because the two are not comparable.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    return _change_ms(here.counted)


def _change_ms(here: ArrivalSeries) -> F64:
    change = steps(here.arrived_ns) / 1e6 - steps(here.timestamp) * (1e3 / here.clock_rate)
    if not here.timeline.whole:
        change[here.broken] = 0.0
    return np.asarray(change)


def jitter_ms(trace: Trace | ArrivalSeries, *, every: bool = False) -> F64:
    """The jitter estimate after each packet that arrived, ms, (n,): J += (|D| - J) / 16, from 0 (RFC 3550 6.4.1).

    Second copies and packets without speech leave the estimate as it is, and there is none (NaN) if nothing else
    arrived; with `every` they enter it too, as in the published study's scripts.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    if not len(here):
        return np.zeros(0)
    if every or here.counts.all():
        return np.concatenate(([0.0], _smoothed(np.abs(_change_ms(here)))))
    counted = here.counted
    if not len(counted):
        return np.full(len(here), NAN)
    series = np.concatenate(([0.0], _smoothed(np.abs(_change_ms(counted)))))
    return np.asarray(series[np.maximum(np.cumsum(here.counts) - 1, 0)])


def _smoothed(deviation: F64) -> F64:
    """J(i) = J(i-1) + (deviation(i) - J(i-1)) / 16 from J = 0, (n,), without a loop over packets.

    Within a block the recursion is a sum of geometrically weighted terms. The weights grow along the block, so a
    running sum loses no precision, and blocks are short enough to avoid overflow.
    """
    n = len(deviation)
    blocks = -(-n // _BLOCK)
    terms = np.zeros((blocks, _BLOCK))
    terms.reshape(-1)[:n] = deviation
    partial = np.cumsum(terms * _GROWTH, axis=1) * _DECAY
    carry, carried = 0.0, np.empty(blocks)
    for block, end in enumerate(partial[:, -1].tolist()):
        carried[block] = carry
        carry = end + carry * _KEPT**_BLOCK
    series = (partial + carried[:, None] * (_DECAY * _KEPT)).reshape(-1)
    return series[:n]


def jitter_units(trace: Trace | ArrivalSeries) -> I64:
    """The jitter estimate after each counted packet, in RTP timestamp units, (k,), as RFC 3550 A.8 computes it.

    Arrival times are counted from the first packet and rounded down to units of the RTP clock. The state is kept times
    16, with A.8's rounding; a report would contain the state divided by 16.
    """
    here = (arrivals(trace) if isinstance(trace, Trace) else trace).counted
    if not len(here):
        return np.zeros(0, dtype=np.int64)
    state, states = 0, [0]
    for change in _change_units(here):
        state += change - ((state + 8) >> 4)
        states.append(state)
    return np.array(states, dtype=np.int64) >> 4


def last_jitter_units(trace: Trace | ArrivalSeries, estimate_ms: F64 | None = None) -> int:
    """The last of `jitter_units`: what a report after the last packet would contain; 0 if nothing arrived.

    `estimate_ms`: the `jitter_ms` of these packets, if known.
    """
    series = arrivals(trace) if isinstance(trace, Trace) else trace
    here = series.counted
    before = len(here) - 1 - _FORGOTTEN_AFTER
    if before > 0 and here is series:
        known = jitter_ms(series) if estimate_ms is None else estimate_ms
        state = 16 * float(known[before]) * here.clock_rate / 1e3
        # A greater state never becomes the smaller one. So if the least and the greatest state that are possible before
        # the last packets lead to the same estimate, so does the real one.
        if float(known.max()) * here.clock_rate < _MOST_UNITS:
            recent = _change_units(here, before)
            low = _state_after(recent, max(int(state) - _ROUNDED, 0))
            high = _state_after(recent, int(state) + 1 + _ROUNDED)
            if low >> 4 == high >> 4:
                return low >> 4
    return _state_after(_change_units(here), 0) >> 4


def _state_after(changes: list[int], state: int) -> int:
    """A.8's state, 16 times the estimate, after these changes."""
    for change in changes:
        state += change - ((state + 8) >> 4)
    return state


def _change_units(here: ArrivalSeries, begin: int = 0) -> list[int]:
    """|D(i-1, i)| in RTP timestamp units, from one packet to the next, from packet `begin` on."""
    if len(here) < 2:
        return []
    seconds, rest = np.divmod(here.arrived_ns[begin:] - here.arrived_ns[0], 1_000_000_000)
    arrival = seconds * here.clock_rate + rest * here.clock_rate // 1_000_000_000
    # The report field has 32 bits.
    change = np.minimum(np.abs(steps(arrival - here.timestamp[begin:])), 0xFFFF_FFFF)
    if not here.timeline.whole:
        change[here.broken[begin:]] = 0
    return list(change.tolist())


def as_published(trace: Trace | ArrivalSeries) -> JitterStatistics:
    """The study's six statistics: the series in order of arrival, rounded to 3 decimals, then summarised."""
    return statistics(np.round(jitter_ms(trace, every=True), 3))


def statistics(series: F64) -> JitterStatistics:
    """Six statistics of a jitter series (n,) in ms; NaN if there are no packets."""
    if not len(series):
        return JitterStatistics(NAN, NAN, NAN, NAN, NAN, NAN, 0)
    low, lower, median, upper, high = quantiles(series, 0.0, 0.25, 0.5, 0.75, 1.0)
    mean, spread = mean_and_deviation(series)
    return JitterStatistics(mean, median, high, high - low, upper - lower, spread, len(series))
