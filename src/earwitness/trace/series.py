"""Small numerical helpers shared by the timing modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, I64, Bool
from earwitness.trace.extend import MAX_DROPOUT
from earwitness.trace.model import Trace

NAN = float("nan")


def quantiles(values: F64, *shares: float) -> list[float]:
    """Quantiles of (n,) values by linear interpolation; the results of `numpy.quantile`, but several times faster on
    the short series of a call. NaN if there are no values.
    """
    if not len(values):
        return [NAN] * len(shares)
    ordered = np.sort(values)
    found: list[float] = []
    for share in shares:
        position = share * (len(ordered) - 1)
        below = int(position)
        above = min(below + 1, len(ordered) - 1)
        low, high = float(ordered[below]), float(ordered[above])
        # Interpolate from the nearer end, as numpy does, so that two equal neighbours yield exactly their value.
        part = position - below
        found.append(high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part)
    return found


def steps(values: NDArray[Any]) -> NDArray[Any]:
    """Differences between successive values, (n - 1,): `numpy.diff` without its overhead, in a quarter of the time."""
    return np.asarray(values[1:] - values[:-1])


_MOST_SECONDS = 1_000_000_000


def ticks_ns(ticks: I64, clock_rate: int) -> I64:
    """Clock ticks (n,) in ns, rounded down and capped at 31 years, because ticks times 1e9 may overflow 64 bits."""
    seconds = ticks // clock_rate
    ns = seconds * 1_000_000_000 + (ticks - seconds * clock_rate) * 1_000_000_000 // clock_rate
    return np.where(np.abs(seconds) < _MOST_SECONDS, ns, np.sign(ticks) * _MOST_SECONDS * 1_000_000_000)


@dataclass(frozen=True)
class ArrivalSeries:
    """The packets of a trace that arrived, in order of arrival, with the values the timing modules need; (n,) each.

    `advances`: whether the packet's sequence number exceeds all before it (neither reordered nor a duplicate).
    `restarts`: whether the sender restarted its numbering at this packet; times before and after are not comparable.
    """

    sequence: I64
    timestamp: I64
    arrived_ns: I64
    marker: Bool
    advances: Bool
    restarts: Bool
    clock_rate: int
    packet_ticks: int

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def packet_ms(self) -> float:
        """ptime: RTP time from one packet to the next within a talkspurt."""
        return 1e3 * self.packet_ticks / self.clock_rate


def arrivals(trace: Trace) -> ArrivalSeries:
    """The packets that arrived."""
    here = trace if bool(trace.arrived.all()) else trace.take(trace.arrived)
    sequence, timestamp, arrived = here.sequence, here.timestamp, here.arrived_ns
    n = len(sequence)
    advances, restarts = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    if n > 1:
        highest = np.maximum.accumulate(sequence)
        advances[1:] = sequence[1:] > highest[:-1]
        for row in (np.flatnonzero(sequence[1:] - highest[:-1] > MAX_DROPOUT) + 1).tolist():
            # During a long outage the timestamps stay in step with the clock; after a restart they do not.
            ticks = abs(int(timestamp[row] - timestamp[row - 1]))
            outage = int(arrived[row] - arrived[row - 1]) * trace.clock_rate / 1e9
            restarts[row] = not 0.5 * outage <= ticks <= 2 * outage
    return ArrivalSeries(
        sequence, timestamp, arrived, here.marker, advances, restarts, trace.clock_rate, _packet_ticks(here)
    )


def _packet_ticks(trace: Trace) -> int:
    """The typical timestamp step between consecutive sequence numbers; 20 ms if none can be observed."""
    step = steps(trace.timestamp)[steps(trace.sequence) == 1]
    step = step[step > 0]
    if not len(step):
        return trace.clock_rate // 50 or 1
    middle = len(step) // 2
    return max(1, int(np.partition(step, middle)[middle]))


def runs(flags: NDArray[Any]) -> I64:
    """The lengths of the runs of True in (n,) flags, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return np.asarray(edges[1::2] - edges[::2], dtype=np.int64)
