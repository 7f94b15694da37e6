"""Small numerical helpers shared by the timing modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, I64, Bool
from earwitness.trace.model import Trace
from earwitness.trace.roles import speech_rows
from earwitness.trace.steps import steps, usual_step
from earwitness.trace.timeline import Timeline, timeline

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


_MOST_SECONDS = 1_000_000_000


def ticks_ns(ticks: I64, clock_rate: int) -> I64:
    """Clock ticks (n,) in ns, rounded down and capped at 31 years, because ticks times 1e9 may overflow 64 bits."""
    seconds = ticks // clock_rate
    ns = seconds * 1_000_000_000 + (ticks - seconds * clock_rate) * 1_000_000_000 // clock_rate
    return np.where(np.abs(seconds) < _MOST_SECONDS, ns, np.sign(ticks) * _MOST_SECONDS * 1_000_000_000)


@dataclass(frozen=True)
class ArrivalSeries:
    """The packets of a trace that arrived, in order of arrival, with the values the timing modules need; (n,) each.

    `sequence`, `timestamp`: on the joined timeline (`timeline`). `part`: the part of the sender's numbering; times of
    different parts are not comparable. `advances`: whether the packet's sequence number exceeds all before it (neither
    reordered nor a duplicate). `counts`: whether the packet's pace is the sender's: it carries speech, and is the first
    copy.
    """

    sequence: I64
    timestamp: I64
    arrived_ns: I64
    marker: Bool
    advances: Bool
    counts: Bool
    part: I64
    clock_rate: int
    packet_ticks: int
    timeline: Timeline

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def packet_ms(self) -> float:
        """ptime: RTP time from one packet to the next within a talkspurt."""
        return 1e3 * self.packet_ticks / self.clock_rate

    @cached_property
    def counted(self) -> ArrivalSeries:
        """Only the packets that count."""
        return self if self.counts.all() else self.take(self.counts)

    def take(self, rows: Bool) -> ArrivalSeries:
        """Only these packets."""
        arrays = ("sequence", "timestamp", "arrived_ns", "marker", "advances", "counts", "part")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    @property
    def broken(self) -> Bool:
        """Whether the sender's numbering breaks between each packet and the next, (n - 1,)."""
        return np.asarray(steps(self.part) != 0)


def arrivals(trace: Trace) -> ArrivalSeries:
    """The packets that arrived."""
    here = trace if bool(trace.arrived.all()) else trace.take(trace.arrived)
    speech = speech_rows(here)
    found = timeline(here, speech)
    sequence, timestamp = here.sequence, here.timestamp
    if not found.whole:
        sequence, timestamp = sequence + found.renumber, timestamp + found.shift
    n = len(sequence)
    advances = np.ones(n, dtype=bool)
    counts = speech if found.whole else speech & ~found.stray
    if n > 1:
        advances[1:] = sequence[1:] > np.maximum.accumulate(sequence)[:-1]
        if not advances.all():
            first = np.zeros(n, dtype=bool)
            first[np.unique(sequence, return_index=True)[1]] = True
            counts = counts & first
    return ArrivalSeries(
        sequence=sequence,
        timestamp=timestamp,
        arrived_ns=here.arrived_ns,
        marker=here.marker,
        advances=advances,
        counts=counts,
        part=found.part,
        clock_rate=trace.clock_rate,
        packet_ticks=_packet_ticks(sequence, timestamp, counts, trace.clock_rate),
        timeline=found,
    )


def _packet_ticks(sequence: I64, timestamp: I64, counts: Bool, clock_rate: int) -> int:
    """The usual timestamp step (`steps.usual_step`); 20 ms if none can be observed."""
    if not counts.all():
        sequence, timestamp = sequence[counts], timestamp[counts]
    return usual_step(sequence, timestamp) or max(1, clock_rate // 50)


def runs(flags: NDArray[Any]) -> I64:
    """The lengths of the runs of True in (n,) flags, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return np.asarray(edges[1::2] - edges[::2], dtype=np.int64)
