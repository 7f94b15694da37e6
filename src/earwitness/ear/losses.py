"""Packets that a capture at the receiver lacks: gaps in the sequence numbers, as far as there was time for them.

A sender may skip sequence numbers without losing speech: when it restarts, when its other packets (FEC, events) are not
in the capture, or when it is broken. What the timestamps leave no room for was no speech.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.frames import Frames
from earwitness.ear.span import QUIET_NS, room_for_packets
from earwitness.trace.extend import MAX_DROPOUT
from earwitness.trace.model import Trace
from earwitness.trace.timeline import usual_step


def lost_between(trace: Trace) -> I64:
    """How many packets were lost after each distinct sequence number but the last, (k - 1,), in order of sequence.

    At most as many as the timestamps on both sides leave room for. If the gaps are larger than the arrivals leave time
    for, the largest are not losses but leaps of the numbering; so are gaps of `MAX_DROPOUT` (RFC 3550 A.1).
    """
    sequence, first = np.unique(trace.sequence, return_index=True)
    hole, step = np.diff(sequence) - 1, np.diff(trace.timestamp[first])
    lost = np.where(hole < MAX_DROPOUT, hole, 0)
    least = step[(hole == 0) & (step > 0)]
    if len(least):
        shortest = int(least.min())
        lost = np.minimum(lost, np.maximum((step + shortest // 2) // shortest - 1, 0))
    most = MAX_DROPOUT + room_for_packets(trace)
    if int(lost.sum()) > most:
        smallest = np.argsort(lost, kind="stable")
        lost[smallest[int(np.searchsorted(np.cumsum(lost[smallest]), most, side="right")) :]] = 0
    return np.asarray(lost)


def inferred_losses(trace: Trace) -> tuple[I64, I64]:
    """The sequence numbers that `lost_between` counts, and their likely timestamps: (h,) each."""
    lost = lost_between(trace)
    at = np.flatnonzero(lost)
    if not len(at):
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty
    sequence, first = np.unique(trace.sequence, return_index=True)
    count = lost[at]
    nth = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + 1
    return np.repeat(sequence[at], count) + nth, np.repeat(trace.timestamp[first][at], count) + nth * usual_step(trace)


def frames_in_each(trace: Trace, frames: Frames, inferred: int) -> int:
    """Frames in each of the packets that `inferred_losses` finds: as many as in most packets, but no more than there
    was time for."""
    came = trace.arrived_ns[trace.arrived]
    span_ns = int(came.max()) - int(came.min()) if len(came) else 0
    most = (span_ns + QUIET_NS) // (frames.stream.frame_ns * max(1, inferred))
    return max(1, min(frames.usual_count, most))


def leapt_over(trace: Trace) -> int:
    """Sequence numbers in gaps below `MAX_DROPOUT` that are not lost packets."""
    hole = np.diff(np.unique(trace.sequence)) - 1
    return int(hole[hole < MAX_DROPOUT].sum() - lost_between(trace).sum())
