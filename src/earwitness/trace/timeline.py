"""Where a sender's numbering breaks: restarts, jumps and holds, and the one timeline that joins the parts.

RFC 3550 5.1 lets a sender begin sequence numbers and timestamps at any value, and gateways, transfers, music on hold
and faulty phones begin anew in mid-stream. The distance of such a break is no delay. So the packets of a stream are
divided into parts, and times are compared only within a part, or on the joined timeline, where each part is moved to
where its arrivals say that it belongs.

A network stall looks like a hold at first: a packet comes late by the length of the gap before it. But what was sent
meanwhile follows in a burst, while after a hold the packets come as the sender paces them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, Bool
from earwitness.trace import steps
from earwitness.trace.breaks import LEAST_BREAK_NS, Break, broken, find_breaks, lateness_ns
from earwitness.trace.extend import MAX_DROPOUT
from earwitness.trace.model import LOST, Trace
from earwitness.trace.restart import MAX_MISORDER
from earwitness.trace.roles import speech_rows

SEQUENCE_BREAK = 2 * MAX_DROPOUT
"""A jump of the sequence number by which a restart is always seen."""
_NEAR = 50
"""Packets on either side of a break whose median lateness places the parts."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The parts of a stream, over the packets that arrived, in order of arrival; arrays (n,).

    - `part`: number of each packet's part, from 0.
    - `stray`: single packets whose timestamp belongs to no part.
    - `shift`: RTP ticks to add to a packet's timestamp to place it on the joined timeline.
    - `renumber`: to add to its sequence number, so that a restart leaves no hole in the joined numbering.
    - `restarts`: breaks at which the sequence numbers begin anew; `jumps`: at which only the timestamps leap; `holds`:
      at which the sender stood still and its timestamps with it, for `hold_ns` in all.
    - `remarks`: what else the reader of the figures should know of the numbering, one sentence each.
    """

    part: I64
    stray: Bool
    shift: I64
    renumber: I64
    restarts: int = 0
    jumps: int = 0
    holds: int = 0
    hold_ns: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the stream has one part and nothing astray."""
        return not (self.restarts or self.jumps or self.holds)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found, one sentence each."""
        said = []
        if self.restarts:
            said.append(f"the sender restarted its numbering {_times(self.restarts)}; not counted as loss or delay")
        if self.jumps:
            said.append(f"the RTP timestamps jump {_times(self.jumps)}; not counted as delay")
        if self.holds:
            said.append(
                f"the sender stood still {_times(self.holds)} (on hold?), {self.hold_ns / 1e9:.1f} s in all; counted as"
                " a pause"
            )
        return (*said, *self.remarks)


def timeline(trace: Trace, speech: Bool | None = None) -> Timeline:
    """The parts of the packets that arrived. Never raises; without breaks it costs a few passes over the arrays.

    Judged by the sending times if all are known, otherwise by the arrivals. `speech`: `speech_rows` of the packets that
    arrived, if known.
    """
    here = trace.received
    if here.sending_times_known:
        # Where the sending times are known, nothing of the network enters the judgement.
        here = replace(here, arrived_ns=here.sent_ns)
    n = len(here)
    zero = np.zeros(n, dtype=np.int64)
    rows = np.flatnonzero(speech_rows(here) if speech is None else speech)
    at = here if len(rows) == n else here.take(rows)
    late = lateness_ns(at)
    if not broken(at, late):
        return Timeline(zero, zero.astype(bool), zero, zero)
    # What comes late, or again, begins nothing new: only packets that advance the sequence number tell of breaks.
    leads, ordered = np.arange(len(at)), bool((steps.steps(at.sequence) > 0).all())
    if not ordered:
        leads = np.flatnonzero(np.diff(np.maximum.accumulate(at.sequence), prepend=at.sequence[0] - 1) > 0)
    stray, breaks = find_breaks(at if ordered else at.take(leads), late[leads])
    if ordered and not breaks and not stray.any():
        return Timeline(zero, zero.astype(bool), zero, zero)
    kept = leads[~stray]
    joined = _Joined(at.take(kept), late[kept], breaks)
    # Every other packet belongs to the part in which its number falls, or, between two, to that of its timestamp.
    mine = np.maximum(np.searchsorted(at.sequence[kept], here.sequence, side="right") - 1, 0)
    following = np.minimum(mine[rows] + 1, len(kept) - 1)
    between = joined.part[following] != joined.part[mine[rows]]
    between[leads] = False
    nearer = np.abs(late - late[kept[following]]) < np.abs(late - late[kept[mine[rows]]])
    # Numbers that begin anew lie far from the old ones, whatever the timestamps do; else only the timestamps differ.
    ahead, passed = at.sequence[kept[following]] - at.sequence, at.sequence - at.sequence[kept[mine[rows]]]
    nearer = np.where(joined.anew[joined.part[following]], ahead < passed, nearer) & (ahead <= MAX_MISORDER)
    mine[rows[between & nearer]] += 1
    astray = np.zeros(n, dtype=bool)
    astray[rows[leads[stray]]] = True
    astray[rows] |= _foreign(at, kept, mine[rows])
    if not breaks and not astray.any():
        return Timeline(zero, astray, zero, zero)
    part = joined.part[mine]
    shift = joined.shift[part]
    off = late[astray[rows]] - late[kept][mine[astray]]
    shift[astray] += np.rint(off * (at.clock_rate / 1e9)).astype(np.int64)
    return Timeline(
        part,
        astray,
        shift,
        joined.renumbered(here.sequence, part)[part],
        restarts=joined.count("restart"),
        jumps=joined.count("jump") + int(astray.sum()),
        holds=joined.count("hold"),
        hold_ns=joined.hold_ns,
    )


def _foreign(trace: Trace, leads: I64, before: I64) -> Bool:
    """Which packets (n,) that did not advance the sequence number have a timestamp far from those around their number.

    `leads` (k,): the packets that advanced it; `before` (n,): the last of these with a number no higher.
    """
    least = LEAST_BREAK_NS // 1_000_000 * trace.clock_rate // 1000
    low = trace.timestamp[leads[before]]
    # What was sent before the first to arrive is older than that, by its time and perhaps a pause.
    early = np.maximum(trace.sequence[leads[0]] - trace.sequence, 0)
    if bool((early > 0).any()):
        low = low - 2 * early * usual_step(trace)
    high = trace.timestamp[leads[np.minimum(before + 1, len(leads) - 1)]]
    # Where the timestamps leap back between the two, those on either side are near.
    high = np.where(high < trace.timestamp[leads[before]], trace.timestamp[leads[before]], high)
    foreign = (trace.timestamp < low - least) | (trace.timestamp > high + least)
    foreign[leads] = False
    behind = np.zeros(len(trace), dtype=bool)
    behind[1:] = trace.sequence[1:] <= np.maximum.accumulate(trace.sequence)[:-1]
    return np.asarray(foreign & behind)


def mended(trace: Trace) -> Trace:
    """The trace on its joined timeline: timestamps and sequence numbers without the breaks; itself if it has none.

    Parts are moved to one grid of packets. Packets that never arrived move with the last one sent before them that did.
    """
    found = timeline(trace)
    if found.whole:
        return trace
    rows = np.flatnonzero(trace.arrived_ns != LOST)
    timestamp, sequence = trace.timestamp.copy(), trace.sequence.copy()
    _, first = np.unique(found.part, return_index=True)
    begin = timestamp[rows][first] + found.shift[first]
    grid = usual_step(trace)
    off = (begin - timestamp[rows[0]] + grid // 2) % grid - grid // 2
    shift = found.shift - off[found.part]
    timestamp[rows] += shift
    astray = rows[found.stray]
    timestamp[astray] -= (timestamp[astray] - timestamp[rows[0]] + grid // 2) % grid - grid // 2
    sequence[rows] += found.renumber
    lost = np.flatnonzero(trace.arrived_ns == LOST)
    if len(lost):
        order = np.argsort(trace.sequence[rows], kind="stable")
        before = np.searchsorted(trace.sequence[rows][order], trace.sequence[lost], side="right") - 1
        whose = order[np.maximum(before, 0)]
        timestamp[lost] += shift[whose]
        sequence[lost] += found.renumber[whose]
    timestamp -= min(int(timestamp.min()), 0)
    return replace(trace, timestamp=timestamp, sequence=sequence, notes=(*trace.notes, *found.notes))


def usual_step(trace: Trace) -> int:
    """The usual timestamp step between consecutive packets (`steps.usual_ticks`), ticks; 20 ms if there are none."""
    return steps.usual_ticks(trace.sequence, trace.timestamp) or max(1, trace.clock_rate // 50)


class _Joined:
    """The parts of a stream between its breaks, each moved to where its arrivals say that it belongs."""

    def __init__(self, trace: Trace, late: I64, breaks: list[Break]) -> None:
        edges = [0, *(one.at for one in breaks), len(late)]
        self.part = np.searchsorted(np.array(edges[1:-1], dtype=np.int64), np.arange(len(late)), side="right")
        shift, renumber = [0], [0]
        self.hold_ns = 0
        placed = late.astype(np.float64)
        for number, one in enumerate(breaks, start=1):
            begin, end = edges[number], edges[number + 1]
            level = _median(late[begin : min(end, begin + _NEAR)])
            known = _median(placed[max(edges[number - 1], begin - _NEAR) : begin])
            shift.append(round((level - known) * trace.clock_rate / 1e9))
            placed[begin:end] -= level - known
            if one.kind == "hold":
                self.hold_ns += int(late[begin] - late[begin - 1])
            added = renumber[-1]
            if one.kind == "restart":
                before = trace.sequence[begin - 1] + added
                added = int(before) + 1 - int(trace.sequence[begin])
            renumber.append(added)
        self.shift, self.renumber = np.array(shift, dtype=np.int64), np.array(renumber, dtype=np.int64)
        self._begins, self._ends = trace.sequence[edges[:-1]], trace.sequence[np.array(edges[1:]) - 1]
        self.anew = np.array([False, *(one.kind == "restart" for one in breaks)])
        self._kinds = [one.kind for one in breaks]

    def renumbered(self, sequence: I64, part: I64) -> I64:
        """What to add to the numbers of each part (k,), for all packets (n,): of the first packets after a restart,
        others than the first may have come first, and the last ones before it may come after it."""
        lowest, highest = self._begins.copy(), self._ends.copy()
        np.minimum.at(lowest, part, sequence)
        np.maximum.at(highest, part, sequence)
        beyond = np.minimum(self._begins - lowest, MAX_MISORDER)
        beyond[1:] += np.minimum(highest - self._ends, MAX_MISORDER)[:-1]
        return np.asarray(self.renumber + np.cumsum(np.where(self.anew, beyond, 0)))

    def count(self, kind: str) -> int:
        """Breaks of this kind."""
        return self._kinds.count(kind)


def _median(values: NDArray[Any]) -> float:
    """The median of a few values (n,), without the overhead of numpy's."""
    ordered = sorted(values.tolist())
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
