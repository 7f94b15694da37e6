"""Unwrap RTP sequence numbers and timestamps (RFC 3550 A.1) for a whole stream at once."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I64, Bool

MAX_DROPOUT = 3000
"""RFC 3550 A.1: a larger jump ahead is not loss but a restart, if the next packets agree."""
MAX_MISORDER = 100
"""RFC 3550 A.1: a larger step back is not reordering but a restart, if the next packets agree."""


def extend(values: I64, bits: int) -> I64:
    """Unwrap values (n,) modulo 2**bits, given in order of arrival: each is taken to be near the one before it.

    The result is congruent to `values`, starts at the first value (one cycle higher if a packet from before a wrap
    arrived after it) and is never negative.
    """
    if not len(values):
        return values.astype(np.int64)
    half, cycle = np.int64(1 << (bits - 1)), np.int64(1 << bits)
    steps = (((values[1:] - values[:-1]) + half) & (cycle - 1)) - half
    extended = np.empty(len(values), dtype=np.int64)
    extended[0] = values[0]
    np.cumsum(steps, out=extended[1:])
    extended[1:] += values[0]
    lowest = extended.min()
    return extended if lowest >= 0 else extended + (-lowest + cycle - 1) // cycle * cycle


def extend_sequence(sequence: I64, timestamp: I64 | None = None) -> I64:
    """RTP sequence numbers (n,) in order of arrival, extended over wraps, strays and restarts.

    With the extended timestamps (n,), also restarts a little below the old numbers: an older packet has an older
    timestamp, but after a restart numbers go back while time goes on.

    A single packet far from its neighbours is a stray: it becomes very old, so that it counts as neither loss nor
    progress. Two or more consecutive packets at a distant number are a restart: the numbering continues upwards, so
    that no number occurs twice.
    """
    extended = extend(sequence, 16)
    step = extended[1:] - extended[:-1]
    anew = _restarts_near(step, timestamp)
    jumps = np.flatnonzero((step > MAX_DROPOUT) | (step < -MAX_MISORDER) | anew) + 1
    if not len(jumps):
        return extended
    begins = [0, *jumps.tolist()]
    ends = [*jumps.tolist(), len(sequence)]
    highest = int(extended[: ends[0]].max())
    for begin, end in zip(begins[1:], ends[1:], strict=True):
        ahead = ((int(sequence[begin]) - highest + 0x8000) & 0xFFFF) - 0x8000
        near = -MAX_MISORDER <= ahead <= MAX_DROPOUT and not anew[begin - 1]
        if not near and end - begin == 1:
            extended[begin] = highest + (ahead - 0x10000 if ahead > 0 else ahead)
            continue
        if not near and ahead < 0:
            ahead += 0x10000
        extended[begin:end] += highest + ahead - extended[begin]
        highest = max(highest, int(extended[begin:end].max()))
    lowest = int(extended.min())
    return extended if lowest >= 0 else extended + -(lowest // 0x10000) * 0x10000


def _restarts_near(step: I64, timestamp: I64 | None) -> Bool:
    """Steps (n - 1,) back by a little at which the numbering begins anew: two packets agree, and time goes on."""
    if timestamp is None or len(step) < 2:
        return np.zeros(len(step), dtype=bool)
    back = (step < 0) & (step >= -MAX_MISORDER) & (timestamp[1:] > timestamp[:-1])
    back[:-1] &= (step[1:] == 1) & (timestamp[2:] > timestamp[1:-1])
    back[-1] = False
    return np.asarray(back)
