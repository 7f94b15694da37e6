"""Small numerical helpers shared by the timing modules."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, I64, Bool
from earwitness.trace.model import Trace
from earwitness.trace.packet_time import PacketTime, packet_time, without_time
from earwitness.trace.roles import speech_rows
from earwitness.trace.steps import steps
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


def mean_and_deviation(values: F64) -> tuple[float, float]:
    """The mean and the sample standard deviation (n - 1) of (n,) values, as numpy's to the last digit, but quicker.

    The deviation of one value is 0; both are NaN if there are none.
    """
    n = len(values)
    if n < 2:
        return (float(values[0]), 0.0) if n else (NAN, NAN)
    mean = float(np.add.reduce(values)) / n
    off = values - mean
    return mean, math.sqrt(float(np.add.reduce(off * off)) / (n - 1))


_CHANGES = "the packet time changes within the stream; the one given is the most frequent"
_NO_SPEECH = "none of its packets carries speech, so it has no jitter, delay variation or packet time of its own"
_WITHOUT_TIME = (
    "the timestamps leave no time for {} of the {} packets lost: they were of another kind (events, FEC), or the sender"
    " skipped their numbers"
)
_STANDING = (
    "the RTP timestamps stand still, so jitter, delay, late packets and pauses here are not the network's: there is"
    " nothing to measure them by"
)
_LEAST_STANDING, _LEAST_STANDING_NS = 10, 1_000_000_000
"""Packets with one timestamp, and the time over which they come: more than any picture takes."""
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
    copy. `ticks_around`: the packet time before each packet, ticks, where it changes within the stream; else None, and
    `packet_ticks`, the usual one, holds for all. `faults`: of the remarks of the timeline, those that make figures of
    loss or of time doubtful, one sentence each.
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
    ticks_around: I64 | None
    timeline: Timeline
    faults: tuple[str, ...] = ()

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
        around = None if self.ticks_around is None else self.ticks_around[rows]
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays}, ticks_around=around)

    @property
    def broken(self) -> Bool:
        """Whether the sender's numbering breaks between each packet and the next, (n - 1,)."""
        return np.asarray(steps(self.part) != 0)


def arrivals(trace: Trace) -> ArrivalSeries:
    """The packets that arrived."""
    here = trace.received
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
    time = _packet_time(here, sequence, timestamp, counts)
    # Where packets that never arrived are rows of the trace, they were sent.
    gapless = not n or (int(sequence[-1] - sequence[0]) == n - 1 and bool(advances.all()))
    missing, timeless = (0, 0) if gapless or n < len(trace) else without_time(sequence, timestamp, time)
    faults = tuple(filter(None, (
        _WITHOUT_TIME.format(timeless, missing) if timeless else "",
        _STANDING if _stands(timestamp, here.arrived_ns, counts) else "",
    )))  # fmt: skip
    remarks = tuple(filter(None, (
        _CHANGES if time.around is not None else "",
        _NO_SPEECH if n and not counts.any() else "",
        *faults,
    )))  # fmt: skip
    return ArrivalSeries(
        sequence=sequence,
        timestamp=timestamp,
        arrived_ns=here.arrived_ns,
        marker=here.marker,
        advances=advances,
        counts=counts,
        part=found.part,
        clock_rate=trace.clock_rate,
        packet_ticks=time.usual,
        ticks_around=time.around,
        timeline=replace(found, remarks=remarks) if remarks else found,
        faults=faults,
    )


def _stands(timestamp: I64, arrived_ns: I64, counts: Bool) -> bool:
    """Whether all packets that count, many over a second and more, have one timestamp."""
    if len(timestamp) < _LEAST_STANDING or timestamp[0] != timestamp[-1]:
        return False
    rows = np.flatnonzero(counts)
    return (
        len(rows) >= _LEAST_STANDING
        and bool((timestamp[rows] == timestamp[rows[0]]).all())
        and int(arrived_ns[rows[-1]] - arrived_ns[rows[0]]) >= _LEAST_STANDING_NS
    )


def _packet_time(trace: Trace, sequence: I64, timestamp: I64, counts: Bool) -> PacketTime:
    """The packet time of the packets that count; around every packet (n,) that of the one before that counts."""
    if counts.all():
        return packet_time(sequence, timestamp, trace.payload_type, trace.size, trace.clock_rate)
    found = packet_time(
        sequence[counts], timestamp[counts], trace.payload_type[counts], trace.size[counts], trace.clock_rate
    )
    if found.around is None:
        return found
    return PacketTime(found.usual, found.around[np.maximum(np.cumsum(counts) - 1, 0)])


def runs(flags: NDArray[Any]) -> I64:
    """The lengths of the runs of True in (n,) flags, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return np.asarray(edges[1::2] - edges[::2], dtype=np.int64)
