"""Where a sender's numbering breaks: restarts, jumps and holds, and the one timeline that joins the parts.

RFC 3550 5.1 lets a sender begin sequence numbers and timestamps at any value, and gateways, transfers, music on hold
and faulty phones begin anew in mid-stream. The distance of such a break is no delay. So the packets of a stream are
divided into parts, and times are compared only within a part, or on the joined timeline, where each part is moved to
where its arrivals say that it belongs.

A network stall looks like a hold at first: a packet comes late by the length of the gap before it. But what was sent
meanwhile follows in a burst, while after a hold the packets come as the sender paces them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.trace.extend import MAX_DROPOUT
from earwitness.trace.model import LOST, UNKNOWN, Trace
from earwitness.trace.roles import speech_rows
from earwitness.trace.steps import most_frequent, steps

LEAST_BREAK_NS = 2_000_000_000
"""Smaller steps of lateness are the network's ..."""
_LEAST_OF_ALL_NS = 60_000_000
"""... unless they are longer than the capture; but steps below this always are."""
_LEAST_AMONG_MANY_NS = 200_000_000
"""The same in a part whose lateness ranges over more than the capture's length."""
SEQUENCE_BREAK = 2 * MAX_DROPOUT
"""A jump of the sequence number by which a restart is always seen."""
_NEAR = 50
"""Packets on either side of a break whose median lateness places the parts."""
_LEAST_EVEN_NS, _LEAST_EVEN_HOLD_NS = 100_000_000, 1_000_000_000
"""Smallest jump, and smallest hold, in a stream whose packets come evenly before and after it ..."""
_LEAST_EVEN, _EVEN_NS = 4, 15_000_000
"""... at least this many on either side, within a tenth of the step and this."""
_WATCHED, _LEAST_WATCHED = 25, 3
"""Packets after a long gap, and how many are needed, to tell whether they come in a burst or paced by the sender."""
_MOST_NS = 1e18
_MOST_BREAKS = 1000
"""Breaks examined one by one in a stream; a stream with more has no numbering, and every step is one."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The parts of a stream, over the packets that arrived, in order of arrival; arrays (n,).

    - `part`: number of each packet's part, from 0.
    - `stray`: single packets whose timestamp belongs to no part.
    - `shift`: RTP ticks to add to a packet's timestamp to place it on the joined timeline.
    - `renumber`: to add to its sequence number, so that a restart leaves no hole in the joined numbering.
    - `restarts`: breaks at which the sequence numbers begin anew; `jumps`: at which only the timestamps leap; `holds`:
      at which the sender stood still and its timestamps with it, for `hold_ns` in all.
    """

    part: I64
    stray: Bool
    shift: I64
    renumber: I64
    restarts: int = 0
    jumps: int = 0
    holds: int = 0
    hold_ns: int = 0

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
        return tuple(said)


def timeline(trace: Trace, speech: Bool | None = None) -> Timeline:
    """The parts of the packets that arrived. Never raises; without breaks it costs a few passes over the arrays.

    Judged by the sending times if all are known, otherwise by the arrivals. `speech`: `speech_rows` of the packets that
    arrived, if known.
    """
    here = trace if bool(trace.arrived.all()) else trace.take(trace.arrived)
    if len(here) and not (here.sent_ns == UNKNOWN).any():
        # Where the sending times are known, nothing of the network enters the judgement.
        here = replace(here, arrived_ns=here.sent_ns)
    n = len(here)
    zero = np.zeros(n, dtype=np.int64)
    rows = np.flatnonzero(speech_rows(here) if speech is None else speech)
    at = here.take(rows) if len(rows) < n else here
    late = _lateness_ns(at)
    stray, breaks = _found(at, late)
    if not breaks and not stray.any():
        return Timeline(zero, zero.astype(bool), zero, zero)
    kept = np.flatnonzero(~stray)
    joined = _Joined(at.take(kept), late[kept], breaks)
    # A packet without speech, or astray, belongs to the part of the packet before it.
    mine = np.maximum(np.searchsorted(rows[kept], np.arange(n), side="right") - 1, 0)
    part = joined.part[mine]
    shift = joined.shift[part]
    astray = np.zeros(n, dtype=bool)
    astray[rows[stray]] = True
    off = late[stray] - (late[kept] if len(kept) else late)[mine[rows[stray]]]
    shift[rows[stray]] += np.rint(off * (at.clock_rate / 1e9)).astype(np.int64)
    return Timeline(
        part,
        astray,
        shift,
        joined.renumber[part],
        restarts=joined.count("restart"),
        jumps=joined.count("jump") + int(stray.sum()),
        holds=joined.count("hold"),
        hold_ns=joined.hold_ns,
    )


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
    """The most frequent timestamp step between consecutive sequence numbers, ticks; that of 20 ms if there is none."""
    step = steps(trace.timestamp)[steps(trace.sequence) == 1]
    return most_frequent(step[step > 0]) or max(1, trace.clock_rate // 50)


@dataclass(frozen=True)
class _Break:
    """A break before packet `at`; `kind` is restart, jump or hold."""

    at: int
    kind: str


def _lateness_ns(trace: Trace) -> I64:
    """Arrival less timestamp, (n,) ns after the first packet's; in floating point, exact enough for seconds, and capped
    at 31 years, so that differences fit 64 bits."""
    if not len(trace):
        return np.zeros(0, dtype=np.int64)
    ticks = (trace.timestamp - trace.timestamp[0]).astype(np.float64) * (1e9 / trace.clock_rate)
    arrived = (trace.arrived_ns - trace.arrived_ns[0]).astype(np.float64)
    return np.asarray(np.clip(np.rint(arrived - ticks), -_MOST_NS, _MOST_NS), dtype=np.int64)


def _found(trace: Trace, late: I64) -> tuple[Bool, list[_Break]]:
    """Which packets are astray, (n,), and the breaks among the others, counted in those."""
    n = len(late)
    stray = np.zeros(n, dtype=bool)
    if n < 2:
        return stray, []
    span = int(trace.arrived_ns[-1] - trace.arrived_ns[0])
    least = min(LEAST_BREAK_NS, max(span, _LEAST_OF_ALL_NS))
    step = np.abs(steps(late))
    far = np.flatnonzero(step >= least)
    if not bool((step >= _LEAST_EVEN_NS).any()) and not _restarts(trace.sequence):
        return stray, []
    if len(far) > 1:
        alone = far[:-1][(steps(far) == 1) & (np.abs(late[far[1:] + 1] - late[far[:-1]]) < least)] + 1
        # Of neighbouring candidates only the first: what follows it is near what came before it.
        stray[alone[np.diff(alone, prepend=-2) > 1]] = True
    at = trace
    if stray.any():
        kept = np.flatnonzero(~stray)
        at, late = trace.take(kept), late[kept]
    breaks = [*_breaks(at, late, least)]
    taken = {one.at for one in breaks}
    breaks += [one for one in _small_breaks(at, late) if one.at not in taken]
    breaks.sort(key=lambda one: one.at)
    edges = [0, *(one.at for one in breaks), len(late)]
    for begin, end in pairwise(edges):
        if end - begin > 1 and int(np.ptp(late[begin:end])) > max(span, least):
            small = np.flatnonzero(np.abs(steps(late[begin:end])) >= _LEAST_AMONG_MANY_NS) + 1 + begin
            breaks += [_Break(place, "jump") for place in small.tolist()]
    return stray, sorted(breaks, key=lambda one: one.at)


def _restarts(sequence: I64) -> bool:
    """Whether a sequence number exceeds all before it by more than any loss."""
    if int(np.ptp(sequence)) <= MAX_DROPOUT:
        return False
    return int(steps(np.maximum.accumulate(sequence)).max()) > MAX_DROPOUT


def _breaks(trace: Trace, late: I64, least: int) -> Iterator[_Break]:
    """The breaks of a stream without strays, in order of arrival."""
    highest = np.maximum.accumulate(trace.sequence)
    skipped = trace.sequence[1:] - highest[:-1]
    candidates = np.flatnonzero((np.abs(steps(late)) >= least) | (skipped > MAX_DROPOUT)) + 1
    if len(candidates) > _MOST_BREAKS:
        yield from (_Break(at, "jump") for at in candidates.tolist())
        return
    begin, usual = 0, usual_step(trace) if len(candidates) else 0
    for at, until in pairwise([*candidates.tolist(), len(late)]):
        kind = _kind(trace, late, begin, at, until, int(skipped[at - 1]), usual, least)
        if kind:
            begin = at
            yield _Break(at, kind)


def _small_breaks(trace: Trace, late: I64) -> Iterator[_Break]:
    """Smaller breaks, in a stream that is so even on both sides that no network can have made them.

    Timestamps that run ahead by a step would mean that all packets before it were late by as much, and evenly so.
    Within a talkspurt (no marker, RFC 3551 4.1)
    consecutive packets are a packet's time apart, so there some unevenness is allowed. Timestamps that stay behind from
    `_LEAST_EVEN_HOLD_NS` on are longer than any change of route.
    """
    step = steps(late)
    places = np.concatenate(([0], np.flatnonzero(np.abs(step) >= _LEAST_EVEN_NS) + 1, [len(late)]))
    sizes = step[places[1:-1] - 1]
    back = trace.timestamp[places[1:-1]] <= trace.timestamp[places[1:-1] - 1]
    # Most large steps are the network's stalls, which can be neither.
    possible = np.flatnonzero((sizes < 0) | back | (sizes >= _LEAST_EVEN_HOLD_NS))[:_MOST_BREAKS]
    usual = usual_step(trace) if len(possible) else 0
    for number in possible.tolist():
        last, at, until = places[number : number + 3].tolist()
        size = int(sizes[number])
        before, after = late[max(last, at - _WATCHED) : at], late[at : min(until, at + _WATCHED)]
        if min(len(before), len(after)) < _LEAST_EVEN or trace.sequence[at] <= trace.sequence[at - 1]:
            continue
        uneven = max(int(np.ptp(before)), int(np.ptp(after)))
        ticks = int(trace.timestamp[at] - trace.timestamp[at - 1])
        in_talkspurt = trace.sequence[at] == trace.sequence[at - 1] + 1 and not trace.marker[at]
        # Of the step only what the arrivals' own unevenness cannot explain.
        leapt = in_talkspurt and not 0 < ticks <= 2 * usual and uneven * 2 <= abs(size)
        even = uneven <= min(abs(size) // 10, _EVEN_NS)
        if (even or leapt) and (size < 0 or ticks <= 0):
            yield _Break(at, "jump")
        elif even and size >= _LEAST_EVEN_HOLD_NS:
            yield _Break(at, "hold")


def _kind(trace: Trace, late: I64, begin: int, at: int, until: int, skipped: int, usual: int, least: int) -> str:
    """What happened before packet `at` of a part that began at packet `begin`; empty if it was the network.

    `until`: the next packet that may begin a part. `skipped`: by how much the sequence number exceeds all before it; 1
    is the next packet.
    """
    step = int(late[at] - late[at - 1])
    elapsed = int(trace.arrived_ns[at] - trace.arrived_ns[at - 1])
    ticks = int(trace.timestamp[at] - trace.timestamp[at - 1])
    if skipped > MAX_DROPOUT:
        # During a long outage timestamps stay in step with the clock and with the packets sent; after a restart not.
        outage = elapsed * trace.clock_rate / 1e9
        return "" if 0.5 * outage <= ticks <= 2 * outage and skipped * usual <= 2 * ticks else "restart"
    if skipped <= 0 and step > 0:
        return ""  # an older packet that comes late with its own timestamp
    # Where as many numbers are missing as there was time for, packets were lost, and only the timestamps leapt.
    gone = elapsed * trace.clock_rate / 1e9
    kind = "jump" if skipped == 1 or abs(skipped * usual - gone) <= max(2 * usual, gone / 4) else "restart"
    if ticks < 0:
        return kind
    if step < 0:
        # Timestamps ahead of the clock: the packets before may all have been late, and caught up here.
        before = late[begin:at]
        return kind if int(before.min() - late[at]) >= least and int(np.ptp(before)) < -step // 2 else ""
    after = steps(trace.arrived_ns[at : min(at + _WATCHED, until)])
    paced = len(after) >= _LEAST_WATCHED and float(np.median(after)) * trace.clock_rate >= usual * 5e8
    return "hold" if paced else ""


class _Joined:
    """The parts of a stream between its breaks, each moved to where its arrivals say that it belongs."""

    def __init__(self, trace: Trace, late: I64, breaks: list[_Break]) -> None:
        edges = [0, *(one.at for one in breaks), len(late)]
        self.part = np.searchsorted(np.array(edges[1:-1], dtype=np.int64), np.arange(len(late)), side="right")
        shift, renumber = [0], [0]
        self.hold_ns = 0
        placed = late.astype(np.float64)
        for number, one in enumerate(breaks, start=1):
            begin, end = edges[number], edges[number + 1]
            level = float(np.median(late[begin : min(end, begin + _NEAR)]))
            known = float(np.median(placed[max(edges[number - 1], begin - _NEAR) : begin]))
            shift.append(round((level - known) * trace.clock_rate / 1e9))
            placed[begin:end] -= level - known
            if one.kind == "hold":
                self.hold_ns += int(late[begin] - late[begin - 1])
            added = renumber[-1]
            if one.kind == "restart":
                before = trace.sequence[edges[number - 1] : begin].max() + added
                added = int(before) + 1 - int(trace.sequence[begin])
            renumber.append(added)
        self.shift, self.renumber = np.array(shift, dtype=np.int64), np.array(renumber, dtype=np.int64)
        self._kinds = [one.kind for one in breaks]

    def count(self, kind: str) -> int:
        """Breaks of this kind."""
        return self._kinds.count(kind)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
