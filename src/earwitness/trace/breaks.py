"""Where the numbering of a sender breaks, told from what the network does to the arrivals.

The arrays hold the packets that advance the sequence number, in order of arrival: what comes late begins nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.trace.extend import MAX_DROPOUT
from earwitness.trace.model import Trace
from earwitness.trace.restart import MAX_MISORDER
from earwitness.trace.steps import steps, usual_ticks

LEAST_BREAK_NS = 2_000_000_000
"""Smaller steps of lateness are the network's ..."""
_LEAST_OF_ALL_NS = 60_000_000
"""... unless they are longer than the capture; but steps below this always are."""
_LEAST_AMONG_MANY_NS = 200_000_000
"""The same in a part whose lateness ranges over more than the capture's length."""
_LEAST_EVEN_NS, _LEAST_EVEN_HOLD_NS = 100_000_000, 1_000_000_000
"""Smallest jump, and smallest hold, in a stream whose packets come evenly before and after it ..."""
_LEAST_EVEN, _EVEN_NS = 4, 15_000_000
"""... at least this many on either side, within a tenth of the step and this."""
_WATCHED, _LEAST_WATCHED, _MOST_WATCHED = 25, 3, 3000
"""Packets after a long gap, how many are needed, and how many at most, to tell a stall from a hold ..."""
_PACED, _CAUGHT_UP = 0.8, 0.25
"""... after which they come at the sender's pace or nearly, and in four times as long catch up no more than this."""
_LONGEST_QUEUE_NS = 10_000_000_000
"""No queue delays all packets evenly by more."""
_CROWDED = 4
"""Numbers skipped in this part of the time that they would take were never sent."""
_MOST_NS = 1e18


_PERHAPS = "perhaps a hold"


@dataclass(frozen=True)
class Break:
    """A break before packet `at`; `kind` is restart, jump or hold."""

    at: int
    kind: str


def lateness_ns(trace: Trace) -> I64:
    """Arrival less timestamp, (n,) ns after the first packet's; in floating point, exact enough for seconds, and capped
    at 31 years, so that differences fit 64 bits."""
    if not len(trace):
        return np.zeros(0, dtype=np.int64)
    ticks = (trace.timestamp - trace.timestamp[0]).astype(np.float64) * (1e9 / trace.clock_rate)
    arrived = (trace.arrived_ns - trace.arrived_ns[0]).astype(np.float64)
    late = np.minimum(np.maximum(np.rint(arrived - ticks), -_MOST_NS), _MOST_NS)
    return np.asarray(late, dtype=np.int64)


def broken(trace: Trace, late: I64) -> bool:
    """Whether there can be a break at all, in packets (n,) that may also come late or twice: quickly told."""
    if len(late) < 2:
        return False
    if bool((np.abs(steps(late)) >= _LEAST_EVEN_NS).any()):
        return True
    return int(steps(trace.sequence).max()) > MAX_MISORDER


def find_breaks(trace: Trace, late: I64) -> tuple[Bool, list[Break]]:
    """Which packets are astray, (n,), and the breaks among the others, counted in those."""
    stray = np.zeros(len(late), dtype=bool)
    span = int(trace.arrived_ns[-1] - trace.arrived_ns[0])
    least = min(LEAST_BREAK_NS, max(span, _LEAST_OF_ALL_NS))
    far = np.flatnonzero(np.abs(steps(late)) >= least)
    if len(far) > 1:
        alone = far[:-1][(steps(far) == 1) & (np.abs(late[far[1:] + 1] - late[far[:-1]]) < least)] + 1
        # Of neighbouring candidates only the first: what follows it is near what came before it.
        stray[alone[np.diff(alone, prepend=-2) > 1]] = True
    at = trace
    if stray.any():
        kept = np.flatnonzero(~stray)
        at, late = trace.take(kept), late[kept]
    search = _Search(at, late, least)
    breaks = [*search.breaks()]
    taken = {one.at for one in breaks}
    breaks += [one for one in search.small_breaks() if one.at not in taken]
    breaks.sort(key=lambda one: one.at)
    edges = [0, *(one.at for one in breaks), len(late)]
    for begin, end in pairwise(edges):
        if end - begin > 1 and int(np.ptp(late[begin:end])) > max(span, least):
            small = np.flatnonzero(np.abs(steps(late[begin:end])) >= _LEAST_AMONG_MANY_NS) + 1 + begin
            breaks += [Break(place, "jump") for place in small.tolist()]
    return stray, sorted(breaks, key=lambda one: one.at)


class _Search:
    """The search for breaks in a stream without strays, with what few streams need, computed when it is."""

    def __init__(self, trace: Trace, late: I64, least: int) -> None:
        self.trace, self.late, self.least = trace, late, least

    @cached_property
    def usual(self) -> int:
        """The usual timestamp step, ticks."""
        return usual_ticks(self.trace.sequence, self.trace.timestamp) or max(1, self.trace.clock_rate // 50)

    @cached_property
    def behind(self) -> I64:
        """The lateness, (n,) ns, as if no timestamps had leapt ahead: only a queue that drains makes it fall."""
        step = steps(self.late)
        lost_ns = (steps(self.trace.sequence) - 1).astype(np.float64) * (self.usual * 1e9 / self.trace.clock_rate)
        leaps = np.where(step + np.clip(lost_ns, 0, _MOST_NS) <= -self.least, step, 0)
        return np.concatenate((self.late[:1], self.late[1:] - np.cumsum(leaps)))

    def breaks(self) -> Iterator[Break]:
        """The breaks by more than a network delays, in order of arrival."""
        late = self.late
        if len(late) < 2:
            return
        skipped = steps(self.trace.sequence)
        candidate = np.abs(steps(late)) >= self.least
        if int(skipped.max()) > MAX_MISORDER:
            candidate |= skipped > MAX_DROPOUT
            many = np.flatnonzero(skipped > MAX_MISORDER)
            gone = (self.trace.arrived_ns[many + 1] - self.trace.arrived_ns[many]) * (self.trace.clock_rate / 1e9)
            ticks = self.trace.timestamp[many + 1] - self.trace.timestamp[many]
            candidate[many] |= skipped[many] * self.usual > _CROWDED * np.maximum(ticks, gone)
        candidates = np.flatnonzero(candidate) + 1
        if not len(candidates):
            return
        edges = np.concatenate(([0], candidates))
        lows, highs = np.minimum.reduceat(late, edges).tolist(), np.maximum.reduceat(late, edges).tolist()
        low, high = lows[0], highs[0]
        perhaps: list[int] = []
        for number, (at, until) in enumerate(pairwise([*candidates.tolist(), len(late)]), start=1):
            kind = self._kind(low, high, at, until)
            if kind == _PERHAPS:
                perhaps.append(at)
                kind = ""
            else:
                # Between holds one packet or a few may come, to keep a path through a NAT open (RFC 6263).
                yield from (Break(one, "hold") for one in perhaps if kind == "hold")
                perhaps.clear()
            low, high = (lows[number], highs[number]) if kind else (min(low, lows[number]), max(high, highs[number]))
            if kind:
                yield Break(at, kind)

    def _kind(self, low: int, high: int, at: int, until: int) -> str:
        """What happened before packet `at`; empty if it was the network. `_PERHAPS`: the same as before the next packet
        that may begin a part, because too few lie between the two.

        `low`, `high`: least and greatest lateness since the last break. `until`: the next packet that may begin a part.
        """
        step, ticks, skipped, gone = self._steps(at)
        usual = self.usual
        if skipped > MAX_DROPOUT:
            # During a long outage timestamps keep in step with clock and numbers; after a restart not.
            return "" if 0.5 * gone <= ticks <= 2 * gone and skipped * usual <= 2 * ticks else "restart"
        if skipped > MAX_MISORDER and skipped * usual > _CROWDED * max(ticks, gone):
            return "restart"
        # Where as many numbers are missing as there was time for, packets were lost, and only the timestamps leapt.
        kind = "jump" if skipped == 1 or abs(skipped * usual - gone) <= max(2 * usual, gone / 4) else "restart"
        if ticks < 0:
            return kind
        if step < 0:
            if self._in_step(ticks, skipped):
                return ""
            # Timestamps ahead of the clock: the packets before may all have been late, and caught up here.
            late_before = low - int(self.late[at]) >= self.least and high - low < -step // 2
            return kind if late_before and self._ahead(at, step) else ""
        if step >= self.least and until < len(self.late) and until - at <= _LEAST_WATCHED:
            return _PERHAPS
        return "hold" if self._paced(at, until) and self._stays(at) else ""

    def _steps(self, at: int) -> tuple[int, int, int, float]:
        """From the packet before `at`: of the lateness, ns; of the timestamp; of the number; of the clock, in ticks."""
        trace, late = self.trace, self.late
        gone = int(trace.arrived_ns[at] - trace.arrived_ns[at - 1]) * trace.clock_rate / 1e9
        ticks, skipped = trace.timestamp[at] - trace.timestamp[at - 1], trace.sequence[at] - trace.sequence[at - 1]
        return int(late[at] - late[at - 1]), int(ticks), int(skipped), gone

    def _in_step(self, ticks: int, skipped: int) -> bool:
        """Whether timestamps and numbers are equally far ahead: then packets are missing, or were overtaken."""
        return skipped > 1 and abs(ticks - skipped * self.usual) <= max(self.usual, ticks // 4)

    def _paced(self, at: int, until: int) -> bool:
        """Whether the packets from `at` up to `until` come as the sender paces them; what a stall held back comes
        faster. By the mean over many packets, because they may come in clumps."""
        trace, last = self.trace, min(at + _WATCHED, until) - 1
        # Of a stream that ends soon after, a stall would have held back more.
        if last - at < (1 if until == len(self.late) else _LEAST_WATCHED):
            return False
        took = int(trace.arrived_ns[last] - trace.arrived_ns[at]) * trace.clock_rate
        return took >= _PACED * 1e9 * min(self.usual * (last - at), int(trace.timestamp[last] - trace.timestamp[at]))

    def _stays(self, at: int) -> bool:
        """Whether the lateness that begins with packet `at` stays; a queue drains, slowly or after further stalls."""
        behind = self.behind
        step = int(behind[at] - behind[at - 1])
        packets = 4 * step * self.trace.clock_rate // (self.usual * 1_000_000_000)
        far = at + min(max(packets, _WATCHED), _MOST_WATCHED)
        return int(behind[at] - behind[at:far].min()) <= step * _CAUGHT_UP

    def _ahead(self, at: int, step: int) -> bool:
        """Whether timestamps that step ahead of the arrivals before packet `at` leapt, rather than the sender being
        silent. In a pause arrivals and timestamps both go on, and a queue may drain meanwhile, so that the packets
        before it were late; a leap needs no time."""
        _, ticks, skipped, gone = self._steps(at)
        if -step < LEAST_BREAK_NS:
            return gone <= (skipped + 1) * self.usual
        return -step > _LONGEST_QUEUE_NS or ticks > 2 * gone

    def small_breaks(self) -> Iterator[Break]:
        """Smaller breaks, in a stream that is so even on both sides that no network can have made them.

        Timestamps that run ahead by a step would mean that all packets before it were late by as much, and evenly so.
        Within a talkspurt (no marker, RFC 3551 4.1) consecutive packets are a packet's time apart, so there some
        unevenness is allowed. Timestamps that stay behind from `_LEAST_EVEN_HOLD_NS` on are longer than any change of
        route.
        """
        trace, late = self.trace, self.late
        step = steps(late)
        places = np.concatenate(([0], np.flatnonzero(np.abs(step) >= _LEAST_EVEN_NS) + 1, [len(late)]))
        sizes = step[places[1:-1] - 1]
        back = trace.timestamp[places[1:-1]] <= trace.timestamp[places[1:-1] - 1]
        enough = np.minimum(steps(places)[:-1], steps(places)[1:]) >= _LEAST_EVEN
        # Most large steps are the network's stalls, which can be neither.
        for number in np.flatnonzero(((sizes < 0) | back | (sizes >= _LEAST_EVEN_HOLD_NS)) & enough).tolist():
            last, at, until = places[number : number + 3].tolist()
            before, after = late[max(last, at - _WATCHED) : at], late[at : min(until, at + _WATCHED)]
            uneven = max(int(np.ptp(before)), int(np.ptp(after)))
            size, ticks, skipped, _ = self._steps(at)
            in_talkspurt = skipped == 1 and not trace.marker[at]
            # Of the step only what the arrivals' own unevenness cannot explain.
            leapt = in_talkspurt and not 0 < ticks <= 2 * self.usual and uneven * 2 <= abs(size)
            even = uneven <= min(abs(size) // 10, _EVEN_NS)
            ahead = size < 0 and not self._in_step(ticks, skipped) and self._ahead(at, size)
            if (even or leapt) and (ticks <= 0 or ahead):
                yield Break(at, "jump")
            elif even and size >= _LEAST_EVEN_HOLD_NS and self._stays(at):
                yield Break(at, "hold")
