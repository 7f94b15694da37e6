"""Where a sender begins its sequence numbers anew a little below the old ones: RFC 3550 A.1 takes that for reordering.

Up to `MAX_MISORDER` back, numbers alone tell nothing. What is late, or comes twice, has the timestamp of its place;
after a restart two packets in a row have not. The rest is a clip that is played in a loop with one set of numbers and
timestamps: all of it again, in order, as slowly as before.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.trace.steps import steps, usual_ticks

MAX_MISORDER = 100
"""RFC 3550 A.1: a larger step back is not reordering but a restart, if the next packets and the timestamps agree."""
_LOOK_BACK = 4 * MAX_MISORDER
"""Packets before a step back among which its neighbours are."""
_LEAST_CLIP, _MOST_OF_IT = 10, 0.8
"""Shortest clip, in packets, that is seen to be sent again, and the part of its packets that must arrive again."""
_MOST_EXAMINED = 1 << 14
"""Steps back that are examined one by one: a second's work, more than any sender makes."""
_AS_SLOW = 0.5
"""A clip that is sent again takes this part of its first time at least; copies come in a burst."""


def restarts_near(extended: I64, timestamp: I64, arrived_ns: I64 | None = None) -> Bool:
    """The steps (n - 1,) back by no more than `MAX_MISORDER` at which the numbering begins anew.

    `extended`: sequence numbers (n,) without wraps, in order of arrival; `timestamp`: extended RTP timestamps (n,);
    `arrived_ns`: arrivals (n,), without which clips that are sent again are not seen.
    """
    step = steps(extended)
    back = (step < 0) & (step >= -MAX_MISORDER)
    # Two packets agree.
    back[:-1] &= (step[1:] == 1) & (timestamp[2:] > timestamp[1:-1])
    back[-1:] = False
    goes_on = back & (timestamp[1:] > timestamp[:-1])
    anew = goes_on.copy()
    rest = np.flatnonzero(back & ~goes_on) + 1
    if not len(rest):
        return anew
    usual = usual_ticks(extended, timestamp) or 0
    # Nearly all are late, or second copies: these are told at once. Only the beginning of a clip may fit and be new.
    fits = _fits(extended, timestamp, rest, usual) | _fits(extended, timestamp, rest + 1, usual)
    edges = np.flatnonzero((step < -MAX_MISORDER) | goes_on) + 1
    first = extended[np.concatenate(([0], edges, rest[~fits]))]
    rest = rest[~fits | np.isin(extended[rest], first)][:_MOST_EXAMINED]
    begins = np.concatenate(([0], edges))[np.searchsorted(edges, rest, side="right")]
    begin = 0
    for at, since in zip(rest.tolist(), begins.tolist(), strict=True):
        begin = max(begin, since)
        if at == begin:
            continue
        contradicts = _contradicts(extended, timestamp, slice(max(begin, at - _LOOK_BACK), at), at, usual)
        again = not contradicts and arrived_ns is not None and _again(extended, timestamp, arrived_ns, begin, at)
        if contradicts or again:
            anew[at - 1] = True
            begin = at
    return anew


def _fits(extended: I64, timestamp: I64, at: I64, usual: int) -> Bool:
    """Whether packets `at` (k,) have the timestamps of their places among those that advance the number."""
    leading = np.flatnonzero(np.diff(np.maximum.accumulate(extended), prepend=extended[0] - 1) > 0)
    lower, upper = neighbours(extended, leading, at)
    due_low = timestamp[lower] + (extended[at] - extended[lower]) * usual
    due_high = timestamp[upper] + (extended[at] - extended[upper]) * usual
    margin = np.where(extended[lower] == extended[at], 0, MAX_MISORDER * usual)
    low, high = np.minimum(due_low, due_high) - margin, np.maximum(due_low, due_high) + margin
    return np.asarray((low <= timestamp[at]) & (timestamp[at] <= high))


def neighbours(extended: I64, among: I64, at: I64) -> tuple[I64, I64]:
    """Of the packets `among` (k,), those with the next number that is no higher, and no lower, than that of each packet
    `at` (m,); at the ends, both are the outermost."""
    ordered = among[np.argsort(extended[among], kind="stable")]
    above = np.searchsorted(extended[ordered], extended[at])
    upper = ordered[np.minimum(above, len(ordered) - 1)]
    return np.where(extended[upper] == extended[at], upper, ordered[np.maximum(above - 1, 0)]), upper


def _contradicts(extended: I64, timestamp: I64, before: slice, at: int, usual: int) -> bool:
    """Whether the timestamps of packets `at` and `at + 1` are not those of their places among the packets before."""
    numbers, ticks = extended[before], timestamp[before]
    leading = np.flatnonzero(np.diff(np.maximum.accumulate(numbers), prepend=numbers[0] - 1) > 0)
    numbers, ticks = numbers[leading], ticks[leading]
    for place in (at, at + 1):
        number, found = int(extended[place]), int(timestamp[place])
        above = int(np.searchsorted(numbers, number))
        if above < len(numbers) and int(numbers[above]) == number:
            if int(ticks[above]) == found:
                return False
            continue
        near = [*range(max(above - 1, 0), min(above + 1, len(numbers)))]
        due = [int(ticks[one]) + (number - int(numbers[one])) * usual for one in near]
        margin = MAX_MISORDER * usual
        if min(due) - margin <= found <= max(due) + margin:
            return False
    return True


def _again(extended: I64, timestamp: I64, arrived_ns: I64, begin: int, at: int) -> bool:
    """Whether with packet `at` all comes again that came since packet `begin`, as slowly as then."""
    count = at - begin
    if not _LEAST_CLIP <= count <= MAX_MISORDER + 1 or int(extended[at]) != int(extended[begin]):
        return False
    first, ticks = np.unique(extended[begin:at], return_index=True)
    ticks = timestamp[begin:at][ticks]
    second = extended[at : at + count]
    place = np.minimum(np.searchsorted(first, second), len(first) - 1)
    same = (first[place] == second) & (ticks[place] == timestamp[at : at + count])
    last = at + int(np.flatnonzero(same)[-1]) if same.any() else at
    took, takes = int(arrived_ns[at - 1] - arrived_ns[begin]), int(arrived_ns[last] - arrived_ns[at])
    return len(np.unique(second[same])) >= _MOST_OF_IT * len(first) and takes >= _AS_SLOW * took
