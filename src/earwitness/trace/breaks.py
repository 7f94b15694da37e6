"""Where the numbering of a sender breaks, told from what the network does to the arrivals.

The arrays hold the packets that advance the sequence number, in order of arrival: what comes late begins nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from earwitness.arrays import F64, I64, Bool
from earwitness.trace.extend import MAX_DROPOUT, MAX_MISORDER
from earwitness.trace.model import Trace
from earwitness.trace.steps import steps, usual_step

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
    return np.asarray(np.clip(np.rint(arrived - ticks), -_MOST_NS, _MOST_NS), dtype=np.int64)


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
    usual = usual_step(at.sequence, at.timestamp) or max(1, at.clock_rate // 50)
    behind = _without_leaps(at, late, usual, least)
    breaks = [*_breaks(at, late, behind, least, usual)]
    taken = {one.at for one in breaks}
    breaks += [one for one in _small_breaks(at, late, behind, usual) if one.at not in taken]
    breaks.sort(key=lambda one: one.at)
    edges = [0, *(one.at for one in breaks), len(late)]
    for begin, end in pairwise(edges):
        if end - begin > 1 and int(np.ptp(late[begin:end])) > max(span, least):
            small = np.flatnonzero(np.abs(steps(late[begin:end])) >= _LEAST_AMONG_MANY_NS) + 1 + begin
            breaks += [Break(place, "jump") for place in small.tolist()]
    return stray, sorted(breaks, key=lambda one: one.at)


def _breaks(trace: Trace, late: I64, behind: I64, least: int, usual: int) -> Iterator[Break]:
    """The breaks of a stream without strays, in order of arrival."""
    skipped = steps(trace.sequence)
    candidate = (np.abs(steps(late)) >= least) | (skipped > MAX_DROPOUT)
    candidate |= _crowded(skipped, steps(trace.timestamp), steps(trace.arrived_ns) * (trace.clock_rate / 1e9), usual)
    candidates = np.flatnonzero(candidate) + 1
    if not len(candidates):
        return
    edges = np.concatenate(([0], candidates))
    lows, highs = np.minimum.reduceat(late, edges).tolist(), np.maximum.reduceat(late, edges).tolist()
    low, high = lows[0], highs[0]
    for number, (at, until) in enumerate(pairwise([*candidates.tolist(), len(late)]), start=1):
        kind = _kind(trace, late, (low, high), at, usual, least)
        if kind == "hold" and not (_paced(trace, at, until, usual) and _stays(trace, behind, at, usual)):
            kind = ""
        low, high = (lows[number], highs[number]) if kind else (min(low, lows[number]), max(high, highs[number]))
        if kind:
            yield Break(at, kind)


def _kind(trace: Trace, late: I64, before: tuple[int, int], at: int, usual: int, least: int) -> str:
    """What happened before packet `at`; empty if it was the network. A hold may still be a stall.

    `before`: least and greatest lateness since the last break.
    """
    step = int(late[at] - late[at - 1])
    elapsed = int(trace.arrived_ns[at] - trace.arrived_ns[at - 1])
    ticks = int(trace.timestamp[at] - trace.timestamp[at - 1])
    skipped = int(trace.sequence[at] - trace.sequence[at - 1])
    gone = elapsed * trace.clock_rate / 1e9
    if skipped > MAX_DROPOUT:
        # During a long outage timestamps stay in step with the clock and with the packets sent; after a restart not.
        return "" if 0.5 * gone <= ticks <= 2 * gone and skipped * usual <= 2 * ticks else "restart"
    if bool(_crowded(skipped, ticks, gone, usual)):
        return "restart"
    # Where as many numbers are missing as there was time for, packets were lost, and only the timestamps leapt.
    kind = "jump" if skipped == 1 or abs(skipped * usual - gone) <= max(2 * usual, gone / 4) else "restart"
    if ticks < 0:
        return kind
    if step < 0:
        if skipped > 1 and abs(ticks - skipped * usual) <= max(usual, ticks // 4):
            return ""  # the timestamps are as far ahead as the numbers: packets are missing, or come later
        # Timestamps ahead of the clock: the packets before may all have been late, and caught up here.
        low, high = before
        late_before = low - int(late[at]) >= least and high - low < -step // 2
        return kind if late_before and _ahead(trace, at, step, usual) else ""
    return "hold"


def _crowded(skipped: I64 | int, ticks: I64 | int, gone: F64 | float, usual: int) -> Bool:
    """Whether so many numbers are skipped that neither timestamps nor arrivals leave time for a quarter of them."""
    return np.asarray((skipped > MAX_MISORDER) & (skipped * usual > _CROWDED * np.maximum(ticks, gone)))


def _paced(trace: Trace, at: int, until: int, usual: int) -> bool:
    """Whether the packets from `at` up to `until` come as the sender paces them: what a stall held back comes faster.

    By the mean over many packets, because they may come in clumps.
    """
    last = min(at + _WATCHED, until) - 1
    if last - at < _LEAST_WATCHED:
        return False
    took = int(trace.arrived_ns[last] - trace.arrived_ns[at]) * trace.clock_rate
    return took >= _PACED * 1e9 * min(usual * (last - at), int(trace.timestamp[last] - trace.timestamp[at]))


def _stays(trace: Trace, behind: I64, at: int, usual: int) -> bool:
    """Whether the lateness that begins with packet `at` stays: a queue drains, if slowly or after further stalls."""
    step = int(behind[at] - behind[at - 1])
    packets = 4 * step * trace.clock_rate // (usual * 1_000_000_000)
    far = at + min(max(packets, _WATCHED), _MOST_WATCHED)
    return int(behind[at] - behind[at:far].min()) <= step * _CAUGHT_UP


def _without_leaps(trace: Trace, late: I64, usual: int, least: int) -> I64:
    """The lateness, (n,) ns, as if no timestamps had leapt ahead: only a queue that drains makes it fall."""
    step = steps(late)
    lost_ns = (steps(trace.sequence) - 1).astype(np.float64) * (usual * 1e9 / trace.clock_rate)
    leaps = np.where(step + np.clip(lost_ns, 0, _MOST_NS) <= -least, step, 0)
    return np.concatenate((late[:1], late[1:] - np.cumsum(leaps)))


def _ahead(trace: Trace, at: int, step: int, usual: int) -> bool:
    """Whether timestamps that step ahead of the arrivals before packet `at` leapt, rather than the sender being silent.

    In a pause arrivals and timestamps both go on, and a queue may drain meanwhile, so that the packets before it were
    late. A leap needs no time.
    """
    gone = int(trace.arrived_ns[at] - trace.arrived_ns[at - 1]) * trace.clock_rate / 1e9
    if -step < LEAST_BREAK_NS:
        return gone <= (int(trace.sequence[at] - trace.sequence[at - 1]) + 1) * usual
    return -step > _LONGEST_QUEUE_NS or int(trace.timestamp[at] - trace.timestamp[at - 1]) > 2 * gone


def _small_breaks(trace: Trace, late: I64, behind: I64, usual: int) -> Iterator[Break]:
    """Smaller breaks, in a stream that is so even on both sides that no network can have made them.

    Timestamps that run ahead by a step would mean that all packets before it were late by as much, and evenly so.
    Within a talkspurt (no marker, RFC 3551 4.1) consecutive packets are a packet's time apart, so there some unevenness
    is allowed. Timestamps that stay behind from `_LEAST_EVEN_HOLD_NS` on are longer than any change of route.
    """
    step = steps(late)
    places = np.concatenate(([0], np.flatnonzero(np.abs(step) >= _LEAST_EVEN_NS) + 1, [len(late)]))
    sizes = step[places[1:-1] - 1]
    back = trace.timestamp[places[1:-1]] <= trace.timestamp[places[1:-1] - 1]
    enough = np.minimum(steps(places)[:-1], steps(places)[1:]) >= _LEAST_EVEN
    # Most large steps are the network's stalls, which can be neither.
    for number in np.flatnonzero(((sizes < 0) | back | (sizes >= _LEAST_EVEN_HOLD_NS)) & enough).tolist():
        last, at, until = places[number : number + 3].tolist()
        size = int(sizes[number])
        before, after = late[max(last, at - _WATCHED) : at], late[at : min(until, at + _WATCHED)]
        uneven = max(int(np.ptp(before)), int(np.ptp(after)))
        ticks = int(trace.timestamp[at] - trace.timestamp[at - 1])
        in_talkspurt = trace.sequence[at] == trace.sequence[at - 1] + 1 and not trace.marker[at]
        # Of the step only what the arrivals' own unevenness cannot explain.
        leapt = in_talkspurt and not 0 < ticks <= 2 * usual and uneven * 2 <= abs(size)
        even = uneven <= min(abs(size) // 10, _EVEN_NS)
        if (even or leapt) and (ticks <= 0 or (size < 0 and _ahead(trace, at, size, usual))):
            yield Break(at, "jump")
        elif even and size >= _LEAST_EVEN_HOLD_NS and _stays(trace, behind, at, usual):
            yield Break(at, "hold")
