"""Unwrap RTP sequence numbers and timestamps (RFC 3550 A.1) for a whole stream at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.trace.steps import usual_ticks

MAX_DROPOUT = 3000
"""RFC 3550 A.1: a larger jump ahead is not loss but a restart, if the next packets agree."""
MAX_MISORDER = 100
"""RFC 3550 A.1: a larger step back is not reordering but a restart, if the next packets and the timestamps agree."""


def extend(values: I64, bits: int) -> I64:
    """Unwrap values (n,) modulo 2**bits, given in order of arrival: each is taken to be near the one before it.

    The result is congruent to `values`, starts at the first value (one cycle higher if a packet from before a wrap
    arrived after it) and is never negative.
    """
    if not len(values):
        return values.astype(np.int64)
    half, cycle = np.int64(1 << (bits - 1)), np.int64(1 << bits)
    steps = values[1:] - values[:-1]
    if len(steps) and -half <= int(steps.min()) and int(steps.max()) < half:
        return values.astype(np.int64)
    steps = ((steps + half) & (cycle - 1)) - half
    extended = np.empty(len(values), dtype=np.int64)
    extended[0] = values[0]
    np.cumsum(steps, out=extended[1:])
    extended[1:] += values[0]
    lowest = extended.min()
    return extended if lowest >= 0 else extended + (-lowest + cycle - 1) // cycle * cycle


def extend_sequence(sequence: I64, timestamp: I64 | None = None) -> I64:
    """RTP sequence numbers (n,) in order of arrival, extended over wraps, strays and restarts.

    With the extended timestamps (n,), also restarts a little below the old numbers: an older packet has an older
    timestamp, but after a restart numbers go back while time goes on. And a packet that comes late by any number of
    packets keeps its number, because its timestamp is that of its place.

    A single packet far from its neighbours is a stray: it becomes a second copy of the packet with the highest number
    so far, so that it counts as neither loss nor progress. Two or more consecutive packets at a distant number are a
    restart: the numbering continues upwards, so that no number occurs twice.
    """
    extended = extend(sequence, 16)
    step = extended[1:] - extended[:-1]
    if not len(step) or (int(step.min()) >= 0 and int(step.max()) <= MAX_DROPOUT):
        return extended
    anew = _restarts_near(step, timestamp)
    far = (step > MAX_DROPOUT) | (step < -MAX_MISORDER) | anew
    if not far.any():
        return extended
    # A packet far away is alone if the next one is near the one before it, so that one begins anew as well.
    alone = far[:-1] & (np.abs(step[1:]) > MAX_MISORDER)
    alone &= (step[1:] + step[:-1] >= -MAX_MISORDER) & (step[1:] + step[:-1] <= MAX_DROPOUT)
    late = told_by = np.zeros(0, dtype=np.int64)
    if timestamp is not None:
        in_place, late, told_by = _in_place(extended, timestamp, far, alone)
        far &= ~in_place | anew
    far[1:] |= alone & far[:-1]
    jumps = (np.flatnonzero(far) + 1).tolist()
    if not jumps:
        return extended
    return _renumbered(sequence, extended, jumps, anew, dict(zip(late.tolist(), told_by.tolist(), strict=True)))


def _renumbered(sequence: I64, plain: I64, jumps: list[int], anew: Bool, told: dict[int, int]) -> I64:
    """The numbers (n,) with the stretches between the jumps, or single strays, moved; late packets that others `told`
    of move with these."""
    ends = sorted({*jumps, *told, len(sequence)})
    extended = plain.copy()
    highest = int(extended[: ends[0]].max())
    for begin, end in pairwise(ends):
        if begin in told:
            extended[begin:end] += extended[told[begin]] - plain[told[begin]]
            highest = max(highest, int(extended[begin:end].max()))
            continue
        ahead = ((int(sequence[begin]) - highest + 0x8000) & 0xFFFF) - 0x8000
        near = -MAX_MISORDER <= ahead <= MAX_DROPOUT and not anew[begin - 1]
        if not near and end - begin == 1:
            extended[begin] = highest
            continue
        if not near and ahead < 0:
            ahead += 0x10000
        extended[begin:end] += highest + ahead - extended[begin]
        highest = max(highest, int(extended[begin:end].max()))
    lowest = int(extended.min())
    return extended if lowest >= 0 else extended + -(lowest // 0x10000) * 0x10000


def _in_place(extended: I64, timestamp: I64, far: Bool, alone: Bool) -> tuple[Bool, I64, I64]:
    """Steps (n - 1,) that are far, but to a packet with the timestamp of its place: an outage, or a late packet.

    A late packet's timestamp is between those of the packets around its number, or as old as its number is at the usual
    step. A sender that begins anew with the same numbers and timestamps does not go on with the old ones; so one packet
    in the next hundred must, or those before it did. Also returns the late packets whose place another packet tells,
    (k,), and that packet of each.
    """
    at = np.flatnonzero(far) + 1
    by, ticks = extended[at] - extended[at - 1], timestamp[at] - timestamp[at - 1]
    usual = usual_ticks(extended, timestamp) or 0
    strays = np.concatenate(([False], alone, [False]))[: len(extended)]
    plain = np.where(strays, extended.min(), extended)
    # The packets that advance the number are in order, but for those alone at a distant one.
    highest = np.maximum.accumulate(plain)
    leading = np.concatenate(([0], np.flatnonzero(highest[1:] > highest[:-1]) + 1))
    above = np.searchsorted(extended[leading], extended[at])
    upper = leading[np.minimum(above, len(leading) - 1)]
    lower = np.where(extended[upper] == extended[at], upper, leading[np.maximum(above - 1, 0)])
    inside = (above > 0) & (above < len(leading)) | (lower == upper)
    between = (timestamp[lower] <= timestamp[at]) & (timestamp[at] <= timestamp[upper]) & (ticks < 0)
    fits = inside & (between | _paced(extended[at] - extended[lower], timestamp[at] - timestamp[lower], usual))
    paced = _paced(by, ticks, usual)
    back = (by < 0) & paced | fits
    soon = np.minimum(at + MAX_MISORDER, len(extended))
    most = np.maximum.reduceat(np.append(plain, plain.min()), np.stack((at, soon), axis=1).reshape(-1))[::2]
    goes_on = (most > extended[at - 1]) | (len(extended) - at <= MAX_MISORDER)
    found = (by > 0) & paced | back & goes_on
    # The last packets of a copy that lags behind: nothing follows with the old numbers.
    lags = np.flatnonzero(back & ~goes_on)
    lags = lags[lags > 0]
    gap = extended[at[lags]] - extended[at[lags - 1]]
    found[lags] = found[lags - 1] & (by[lags - 1] < 0) & (gap > 0) & (gap <= MAX_MISORDER)
    result = np.zeros(len(far), dtype=bool)
    result[at[found] - 1] = True
    told = found & fits
    return result, at[told], lower[told]


def _paced(numbers: I64, ticks: I64, usual: int) -> Bool:
    """Whether timestamps are as far from each other, modulo 32 bits, as the numbers are at the usual step."""
    ticks = ((ticks + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
    near = np.abs(ticks - numbers * usual) <= np.maximum(usual, np.abs(ticks) // 4)
    return np.asarray(near & (usual > 0))


def _restarts_near(step: I64, timestamp: I64 | None) -> Bool:
    """Steps (n - 1,) back by a little at which the numbering begins anew: two packets agree, and time goes on."""
    if timestamp is None or len(step) < 2:
        return np.zeros(len(step), dtype=bool)
    back = (step < 0) & (step >= -MAX_MISORDER) & (timestamp[1:] > timestamp[:-1])
    back[:-1] &= (step[1:] == 1) & (timestamp[2:] > timestamp[1:-1])
    back[-1] = False
    return np.asarray(back)
