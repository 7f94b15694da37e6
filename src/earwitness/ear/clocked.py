"""Timestamps that a sender read from a clock, instead of counting samples, put on the grid of its packets.

Such timestamps lie a few samples or milliseconds beside the places of their packets. A buffer that goes by them finds
two packets in one place and none in another, although the packets say how much each holds and their numbers that
nothing is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.frames import Frames
from earwitness.trace.model import Trace


@dataclass(frozen=True, eq=False)
class Beside:
    """Packets whose timestamps are not where the packet before ends. `shift` (n,): ticks to add to each timestamp to
    put the packet on its place. `count`: how many are off; `most_ms`: by how much at most."""

    shift: I64
    count: int = 0
    most_ms: float = 0.0

    def said(self, moved: bool) -> tuple[str, ...]:
        """A sentence on them, and on whether they were `moved`; none if there are none."""
        if not self.count:
            return ()
        off = f"{self.most_ms:.3g} ms off the end of the packet before"
        found = f"{self.count} packets have RTP timestamps up to {off} (read from a clock?)"
        if self.count == 1:
            found = f"one packet has an RTP timestamp {off}"
        done = "the packets are played where their sequence numbers say" if moved else "this buffer goes by timestamps"
        return (f"{found}; {done}",)


def beside_places(trace: Trace, frames: Frames) -> Beside:
    """Compare the timestamps with the places of the packets.

    A packet's place is where the one before it in number ends; packets that are missing between them are taken to be
    as long as most. What is half a packet or more away from there begins a new run with its own timestamp (a pause, a
    jump, a clock that has drifted that far). So does what is whole frames away: it is on the grid. If most are off by
    the same amount, that is the step of the sender, and no clock.
    """
    distinct, first, whose = _distinct(trace.sequence)
    some = np.flatnonzero(frames.count[first])
    row = first[some]
    slot = frames.stream.frame_ticks
    length = np.rint(frames.packet_ns[row[:-1]] * (trace.clock_rate / 1e9)).astype(np.int64)
    # Packets without speech that arrived between two others take no time.
    missing = np.diff(distinct[some]) - np.diff(some)
    due = length + missing * (frames.usual_count * slot)
    timestamp = trace.timestamp[row]
    off = np.diff(timestamp) - due
    beside = (off % slot != 0) & (2 * np.abs(off) < length)
    count = int(np.count_nonzero(beside))
    if not count or _is_step(off):
        return Beside(np.zeros(len(trace), dtype=np.int64))
    shift = np.zeros(len(distinct), dtype=np.int64)
    shift[some] = np.array(_places(timestamp.tolist(), due.tolist(), length.tolist(), slot)) - timestamp
    # A second packet of the same number moves only if it is a copy.
    copies = trace.timestamp == trace.timestamp[first][whose]
    most_ms = 1000 * int(np.abs(off[beside]).max()) / trace.clock_rate
    return Beside(np.where(copies, shift[whose], 0), count, most_ms)


def _distinct(sequence: I64) -> tuple[I64, I64, I64]:
    """The numbers in order, the first packet of each, (k,), and which of them each packet (n,) has."""
    if bool((sequence[1:] > sequence[:-1]).all()):
        rows = np.arange(len(sequence))
        return sequence, rows, rows
    return np.unique(sequence, return_index=True, return_inverse=True)


def _is_step(off: I64) -> bool:
    """Whether most of the steps (m,) are off by the same amount, not 0."""
    usual = int(np.partition(off, len(off) // 2)[len(off) // 2])
    return usual != 0 and 2 * int(np.count_nonzero(off == usual)) > len(off)


def _places(timestamps: list[int], due: list[int], length: list[int], slot: int) -> list[int]:
    """The place of each packet, in order of number; `due` and `length`: from one to the next, and of each but the
    last."""
    place = timestamps[0]
    places = [place]
    for timestamp, apart, long in zip(timestamps[1:], due, length, strict=True):
        off = timestamp - place - apart
        place = timestamp if off % slot == 0 or 2 * abs(off) >= long else place + apart
        places.append(place)
    return places
