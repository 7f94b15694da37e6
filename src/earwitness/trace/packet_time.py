"""How much RTP time a packet takes: the usual step of a stream, and that around each packet where it changes.

A sender may change its packet time within a call (a re-INVITE with another `a=ptime`; Opus senders that adapt). What is
a packet's time in one part of such a stream is a pause in another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import I32, I64, U8, Bool
from earwitness.trace.steps import consecutive, usual

_FEWEST = 3
"""Consecutive equal steps that make a packet time, not pauses."""
_NEARLY = 8
"""Within this part of the usual step, steps are those of a sender that reads its timestamps from a clock."""


@dataclass(frozen=True, eq=False)
class PacketTime:
    """`usual`: the usual timestamp step, ticks. `around`: that before each packet, (n,); None if all have the usual."""

    usual: int
    around: I64 | None = None


def packet_time(sequence: I64, timestamp: I64, payload_type: U8, size: I32, clock_rate: int) -> PacketTime:
    """The packet time of packets (n,) with speech, in order of arrival; 20 ms if none can be observed."""
    first, apart, step = consecutive(sequence, timestamp)
    together = apart == 1
    known = usual(step if together.all() else step[together])
    if known is None:
        return PacketTime(max(1, clock_rate // 50))
    if int(np.count_nonzero(step != known)) < _FEWEST:
        return PacketTime(known)
    settled = _settled(step, apart)
    other = settled & (np.abs(step - known) * _NEARLY > known)
    if not other.any():
        return PacketTime(known)
    rows = np.arange(len(sequence)) if first is None else first
    settled &= ~other | _full(step, known, other, payload_type[rows], size[rows])
    places = np.flatnonzero(settled)
    if not (settled & other).any():
        return PacketTime(known)
    # Losses and pauses take the packet time before them.
    before = np.maximum(np.searchsorted(places, np.arange(len(step)), side="right") - 1, 0)
    around = step[places[before]]
    around = np.concatenate((around[:1], around))
    return PacketTime(known, around if first is None else around[np.searchsorted(sequence[first], sequence)])


def without_time(sequence: I64, timestamp: I64, time: PacketTime) -> tuple[int, int]:
    """How many numbers are missing between packets (n,) of any kind, and how many of these the timestamps leave no room
    for: packets of a kind that takes no time (events, FEC), or numbers that were never sent."""
    first, apart, step = consecutive(sequence, timestamp)
    holes = np.flatnonzero(apart > 1)
    if not len(holes):
        return 0, 0
    missing = apart[holes] - 1
    each: int | I64 = time.usual
    if time.around is not None:
        around = time.around if first is None else time.around[first]
        # Where the packet time changes, the packets missing may have had either.
        each = np.minimum(around[holes], around[np.minimum(holes + 2, len(around) - 1)])
    room = np.maximum((step[holes] + each // 2) // each - 1, 0)
    return int(missing.sum()), int(np.maximum(missing - room, 0).sum())


def _settled(step: I64, apart: I64) -> Bool:
    """The steps (k,) that are among `_FEWEST` equal ones between consecutive packets."""
    same = (step[1:] == step[:-1]) & (apart[1:] == 1) & (apart[:-1] == 1) & (step[1:] > 0)
    settled = np.zeros(len(step), dtype=bool)
    run = same[1:] & same[:-1]
    for begin in range(_FEWEST):
        settled[begin : begin + len(run)] |= run
    return settled


def _full(step: I64, usual_ticks: int, other: Bool, payload_type: U8, size: I32) -> Bool:
    """Which of the `other` steps (k,) are of packets with speech, not of silence descriptors between pauses.

    A longer packet is no smaller than the usual ones of its codec. Descriptors are, and come evenly too: every 160 ms
    in AMR, 400 ms in Opus.
    """
    full = other & (step < usual_ticks)
    of, bytes_each = payload_type[:-1], size[:-1]
    for number in np.unique(of[other]).tolist():
        mine = of == number
        plain = bytes_each[mine & (step == usual_ticks)]
        full |= other & mine & (bytes_each >= (np.median(plain) if len(plain) else 0))
    return full
