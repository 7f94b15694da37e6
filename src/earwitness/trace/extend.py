"""Unwrap RTP sequence numbers and timestamps (RFC 3550 A.1) for a whole stream at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.trace.restart import MAX_MISORDER, neighbours, restarts_near
from earwitness.trace.steps import steps, usual_ticks

MAX_DROPOUT = 3000
"""RFC 3550 A.1: a larger jump ahead is not loss but a restart, if the next packets agree."""

_LEAST_NUMBERING = 10
"""Packets in a row that begin a numbering, rather than come late."""
_CLOSE = 3
"""Packets that follow each other, but for one or two that are lost."""


def extend(values: I64, bits: int) -> I64:
    """Unwrap values (n,) modulo 2**bits, given in order of arrival: each is taken to be near the one before it.

    The result is congruent to `values`, starts at the first value (one cycle higher if a packet from before a wrap
    arrived after it) and is never negative.
    """
    if not len(values):
        return values.astype(np.int64)
    half, cycle = np.int64(1 << (bits - 1)), np.int64(1 << bits)
    step = steps(values)
    if len(step) and -half <= int(step.min()) and int(step.max()) < half:
        return values.astype(np.int64)
    step = ((step + half) & (cycle - 1)) - half
    extended = np.empty(len(values), dtype=np.int64)
    extended[0] = values[0]
    np.cumsum(step, out=extended[1:])
    extended[1:] += values[0]
    lowest = extended.min()
    return extended if lowest >= 0 else extended + (-lowest + cycle - 1) // cycle * cycle


def extend_sequence(sequence: I64, timestamp: I64 | None = None, arrived_ns: I64 | None = None) -> I64:
    """RTP sequence numbers (n,) in order of arrival, extended over wraps, strays and restarts.

    With the extended timestamps (n,), also restarts a little below the old numbers: an older packet has the timestamp
    of its place, but after a restart numbers go back while time goes on, or to other timestamps. And a packet that
    comes late by any number of packets keeps its number, because its timestamp is that of its place. With the arrivals
    (n,), ns, also a short clip that is sent again with the same numbers and timestamps.

    A single packet far from its neighbours is a stray: it becomes a second copy of the packet with the highest number
    so far, so that it counts as neither loss nor progress. Two or more consecutive packets at a distant number are a
    restart: the numbering continues upwards, so that no number occurs twice.
    """
    extended = extend(sequence, 16)
    step = extended[1:] - extended[:-1]
    if not len(step) or (int(step.min()) >= 0 and int(step.max()) <= MAX_DROPOUT):
        return extended
    same = step == 0 if timestamp is None else (step == 0) & (steps(timestamp) == 0)
    if same.any():
        # Copies right behind each other are one packet that came twice, wherever its number belongs.
        once = np.concatenate(([True], ~same))
        ticks = None if timestamp is None else timestamp[once]
        numbers = extend_sequence(sequence[once], ticks, None if arrived_ns is None else arrived_ns[once])
        return np.asarray(numbers[np.cumsum(once) - 1])
    order = None if timestamp is None else _in_turn(extended, timestamp)
    if order is None:
        return _joined(sequence, extended, timestamp, arrived_ns)
    result = np.empty(len(sequence), dtype=np.int64)
    ticks = None if timestamp is None else timestamp[order]
    result[order] = _joined(sequence[order], extend(sequence[order], 16), ticks, arrived_ns)
    return result


def _in_turn(extended: I64, timestamp: I64) -> I64 | None:
    """The packets (n,) with those of an old numbering that come late, among the first of a new one, put before these;
    None if there are none."""
    before, here, after = extended[:-2], extended[1:-1], extended[2:]
    lone = (np.abs(here - before) > MAX_MISORDER) & (np.abs(here - after) > MAX_MISORDER)
    lone &= (after > before) & (after - before <= _CLOSE)
    late = np.flatnonzero(lone) + 1
    if not len(late):
        return None
    others = np.delete(np.arange(len(extended)), late)
    usual = usual_ticks(extended, timestamp) or 0
    place = np.arange(len(extended), dtype=np.float64)
    for near in neighbours(extended, others, late):
        apart, ticks = extended[late] - extended[near], timestamp[late] - timestamp[near]
        mine = (near < late) & (late - near <= MAX_MISORDER) & (np.abs(apart) <= MAX_MISORDER)
        mine &= _paced(apart, ticks, usual)
        place[late[mine]] = near[mine] + 0.5
    order = np.argsort(place, kind="stable")
    return None if bool((steps(order) == 1).all()) else order


def _joined(sequence: I64, extended: I64, timestamp: I64 | None, arrived_ns: I64 | None) -> I64:
    """The numbers (n,), which are also given without wraps, over strays and restarts."""
    step = extended[1:] - extended[:-1]
    anew = np.zeros(len(step), dtype=bool) if timestamp is None else restarts_near(extended, timestamp, arrived_ns)
    far = (step > MAX_DROPOUT) | (step < -MAX_MISORDER) | anew
    if not far.any():
        return extended
    # A packet far away is alone if the next one is near the one before it, so that one begins anew as well.
    to, back = step[:-1], step[1:]
    alone = far[:-1] & (np.abs(back) > MAX_MISORDER) & (to + back >= -MAX_MISORDER) & (to + back <= MAX_DROPOUT)
    # It need not be so far if what follows is what was due, unless its own numbering goes on.
    lone = (to > MAX_MISORDER) & (back < -MAX_MISORDER) & (to + back > 0) & (to + back <= _CLOSE)
    goes_on = np.abs(extended[2:] - extended[:-2]) <= MAX_MISORDER
    lone[1:] &= ~goes_on[:-1]
    lone[:-1] &= ~goes_on[1:]
    alone |= lone
    far[:-1] |= alone
    late = told_by = np.zeros(0, dtype=np.int64)
    if timestamp is not None:
        in_place, late, told_by = _in_place(extended, timestamp, far, alone)
        begins_anew = anew[late - 1]
        late, told_by = late[~begins_anew], told_by[~begins_anew]
        far &= ~in_place | anew
    far[1:] |= alone & far[:-1]
    jumps = (np.flatnonzero(far) + 1).tolist()
    if not jumps:
        return extended
    told = dict(zip(late.tolist(), told_by.tolist(), strict=True))
    return _renumbered(sequence, extended, jumps, anew, {*(np.flatnonzero(alone) + 1).tolist()}, told)


def _renumbered(sequence: I64, plain: I64, jumps: list[int], anew: Bool, alone: set[int], told: dict[int, int]) -> I64:
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
        if end - begin == 1 and (not near or begin in alone):
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
    leading = _leading(plain, far)
    lower, upper = neighbours(extended, leading[~strays[leading]], at)
    # A packet that advances the number is no neighbour of its own.
    inside = (extended[lower] <= extended[at]) & (extended[at] <= extended[upper]) & (lower != at)
    between = (timestamp[lower] <= timestamp[at]) & (timestamp[at] <= timestamp[upper]) & (ticks < 0)
    # Nor does anything fall between two numberings.
    apart = extended[upper] - extended[lower]
    between &= (apart <= MAX_DROPOUT) | _paced(apart, timestamp[upper] - timestamp[lower], usual)
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


def _leading(numbers: I64, far: Bool) -> I64:
    """The packets, (k,) of n, that advance the number: of all so far, or since the last step that is `far` (n - 1,), if
    there are so many since that they are no late ones."""
    advance = np.concatenate(([True], steps(np.maximum.accumulate(numbers)) > 0))
    stretch = np.concatenate(([0], np.cumsum(far)))
    anew = np.concatenate(([True], steps(np.maximum.accumulate(numbers + (stretch << 40))) > 0))
    return np.flatnonzero(advance | anew & (np.bincount(stretch)[stretch] >= _LEAST_NUMBERING))


def _paced(numbers: I64, ticks: I64, usual: int) -> Bool:
    """Whether timestamps are as far from each other, modulo 32 bits, as the numbers are at the usual step."""
    ticks = ((ticks + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
    near = np.abs(ticks - numbers * usual) <= np.maximum(usual, np.abs(ticks) // 4)
    return np.asarray(near & (usual > 0))
