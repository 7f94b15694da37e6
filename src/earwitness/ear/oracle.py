"""A jitter buffer that knows the future: an upper bound for real buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, I64
from earwitness.ear.base import CONCEAL, PAUSE, Pull, Stream
from earwitness.ear.frames import Frames
from earwitness.ear.kind import BufferKind, milliseconds
from earwitness.errors import InputError
from earwitness.looks import Look
from earwitness.trace.model import Trace

_LONG_PAUSE_NS = 200_000_000
"""Shorter quiet periods are part of speech."""
_MOST_NS = 4_000_000_000
"""Largest delay of a talkspurt."""
_BISECTIONS = 40


@dataclass(frozen=True)
class Oracle:
    """Fewest missed frames for a mean delay, with all arrivals known in advance (`oracle:100`).

    `delay_ms` is the mean, over the speech frames played, of their playing time relative to the fastest packet's. Each
    talkspurt between two pauses (from silence suppression, or at least 200 ms of quiet) has one playout delay; pauses
    absorb the differences. The delays minimise frames missed + price * (delay - `delay_ms`), summed over the frames
    played, by dynamic programming over a grid of one packet length, with one constraint: a talkspurt cannot begin
    before the previous one has ended. The price is the lowest for which the mean delay does not exceed `delay_ms`,
    found by bisection. Quiet frames in a pause are played if there is time for them, and not counted.

    Up to the grid, this bounds how many frames any buffer can play that leaves the speech between pauses unchanged. It
    does not bound a buffer that stretches speech, nor, strictly, MOS, which does not depend only on missed frames.
    """

    delay_ms: float
    concealment: ClassVar[str] = "wsola"
    wants_levels: ClassVar[bool] = True
    follows_phone_clock: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ms <= 10_000:
            raise InputError(
                "making an oracle of", f"{self.delay_ms} ms", "out of range", "give 0 to 10000 milliseconds"
            )

    @property
    def spec(self) -> str:
        """The buffer's name on the command line."""
        return f"oracle:{self.delay_ms:g}"

    def clock_offset_ns(self, frame_ns: int) -> int:
        """Unused: an oracle sets its own clock, see `foresee`."""
        return 0

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> OraclePlayout:
        """Not possible: an oracle needs the whole trace in advance."""
        raise InputError("opening", self.spec, "it needs the whole trace", "replay it with earwitness.ear.hear")

    def foresee(self, trace: Trace, frames: Frames, quiet: Sequence[bool]) -> OraclePlayout:
        """Plan the playing of a whole trace; at least one packet must have arrived."""
        return OraclePlayout(frames.stream, *_plan(trace, frames, quiet, self.delay_ms * 1e6))


class OraclePlayout:
    """A stream played by a plan: the timestamp for each frame length of playing, or None for a pause."""

    def __init__(self, stream: Stream, begin_ns: int, schedule: list[int | None]) -> None:
        self.begin_ns = begin_ns
        """First tick of its clock, ns."""
        self._ticks = stream.frame_ticks
        self._schedule = schedule
        self._at = 0
        self._held: dict[int, int] = {}

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        """Store the packet's frames."""
        for number in range(count):
            self._held.setdefault(timestamp + number * self._ticks, frame + number)

    def pull(self, now_ns: int) -> Pull:
        """The planned frame, if it has arrived."""
        place, self._at = self._at, self._at + 1
        start = self._schedule[place] if place < len(self._schedule) else None
        if start is None:
            return PAUSE, 0, 0
        return self._held.pop(start, CONCEAL), start, start + self._ticks

    @property
    def drained(self) -> bool:
        """Whether the plan has ended."""
        return self._at >= len(self._schedule)


@dataclass(frozen=True, eq=False)
class _Spurt:
    """A talkspurt: slots (frame lengths after the first timestamp) from `start` to `end`, its number of `frames`, and
    how many of them are `missed` at each delay of the grid."""

    start: int
    end: int
    frames: int
    missed: F64


def _plan(trace: Trace, frames: Frames, quiet: Sequence[bool], delay_ns: float) -> tuple[int, list[int | None]]:
    """The first tick, and the timestamp for each frame length after it."""
    stream = frames.stream
    rate, ticks, tick = stream.clock_rate, stream.frame_ticks, stream.frame_ns * stream.frames_per_packet
    arrived_ns = trace.arrived_ns[frames.packet]
    order = np.lexsort((arrived_ns, ~trace.arrived[frames.packet], frames.timestamp))
    timestamp, first = np.unique(frames.timestamp[order], return_index=True)
    row = order[first]
    here = trace.arrived[frames.packet][row]
    slot = (timestamp - timestamp[0]) // ticks
    # A frame beside the grid plays in the slot in which it begins, from the beginning of that.
    begins = slot * ticks
    if stream.usual_count and stream.usual_count < stream.frames_per_packet:
        # A tick takes several packets at once, of which the last must have arrived when the first begins to play.
        begins = slot // stream.frames_per_packet * stream.frames_per_packet * ticks
    media_ns = begins * 1_000_000_000 // rate
    late_ns = np.where(here, arrived_ns[row] - media_ns, 0)
    leads = here & (frames.part[row] == 0)
    if not bool(np.any(leads)):
        raise InputError(
            "replaying", trace.source or "the trace", "no packet with speech arrived", "give a capture with speech"
        )
    fastest = int(late_ns[leads].min())
    excess = np.where(here, late_ns - fastest, np.iinfo(np.int64).max)
    worst = int(np.clip(excess[here].max(), tick, _MOST_NS))
    grid = np.arange(0, worst + 2 * tick, tick, dtype=np.int64)
    is_quiet = np.array(quiet, dtype=np.bool_)[row] if len(quiet) else np.zeros(len(row), dtype=np.bool_)
    spurts = _spurts(slot, is_quiet, excess, grid, max(1, _LONG_PAUSE_NS // stream.frame_ns))
    chosen = _cheapest(spurts, grid, delay_ns, stream.frames_per_packet)
    length = int(slot[-1]) + 1 + len(grid) * stream.frames_per_packet
    schedule: list[int | None] = [None] * length
    written = 0
    for number, (spurt, delay) in enumerate(zip(spurts, chosen, strict=True)):
        shift = delay * stream.frames_per_packet
        # The quiet frames after it continue at the same delay until the next talkspurt begins.
        until = spurts[number + 1].start if number + 1 < len(spurts) else int(slot[-1]) + 1
        low, high = np.searchsorted(slot, [spurt.start, until])
        begin = spurt.start + shift
        if written > begin:
            schedule[begin:written] = [None] * (written - begin)
        for at in range(int(low), int(high)):
            schedule[int(slot[at]) + shift] = int(timestamp[at])
        if high > low:
            written = int(slot[high - 1]) + shift + 1
    while schedule and schedule[-1] is None:
        schedule.pop()
    return fastest, schedule


def _spurts(slot: I64, is_quiet: NDArray[np.bool_], excess: I64, grid: I64, pause: int) -> list[_Spurt]:
    """Split the stream where the slots jump or a long quiet period occurs."""
    loud = np.flatnonzero(~is_quiet)
    if not len(loud):
        loud = np.arange(len(slot))
    cuts = np.flatnonzero(np.diff(slot[loud]) > pause)
    jumps = np.flatnonzero(np.diff(slot) > 1)
    silent = np.searchsorted(loud, jumps, side="right") - 1
    cuts = np.unique(np.concatenate((cuts, silent[(silent >= 0) & (silent < len(loud) - 1)])))
    begins, ends = np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(loud) - 1]))
    spurts: list[_Spurt] = []
    for begin, end in zip(loud[begins].tolist(), loud[ends].tolist(), strict=True):
        inside = np.sort(excess[begin : end + 1])
        missed = len(inside) - np.searchsorted(inside, grid, side="right")
        spurts.append(_Spurt(int(slot[begin]), int(slot[end]) + 1, len(inside), missed.astype(np.float64)))
    # Quiet frames at the very beginning play with the first talkspurt.
    spurts[0] = _Spurt(int(slot[0]), spurts[0].end, spurts[0].frames, spurts[0].missed)
    return spurts


def _cheapest(spurts: list[_Spurt], grid: I64, delay_ns: float, each: int) -> list[int]:
    """The delay of each talkspurt as a grid index: fewest frames missed with a mean delay of at most `delay_ns`."""
    steps = (grid - delay_ns) / float(grid[1])
    played = [spurt.frames - spurt.missed for spurt in spurts]
    low, high = 0.0, 1.0
    best = [0] * len(spurts)
    for _ in range(_BISECTIONS):
        price = (low + high) / 2.0
        costs = [spurt.missed + price * there * steps for spurt, there in zip(spurts, played, strict=True)]
        chosen = _dynamic(spurts, costs, each)
        if sum(there[at] * steps[at] for there, at in zip(played, chosen, strict=True)) <= 0.0:
            best, high = chosen, price
        else:
            low = price
    return best


def _dynamic(spurts: list[_Spurt], costs: list[F64], each: int) -> list[int]:
    """The grid indices with the lowest total cost, if no talkspurt begins before the previous one has ended."""
    behind: list[I64] = []
    value = costs[0]
    count = len(value)
    for (last, spurt), cost in zip(pairwise(spurts), costs[1:], strict=True):
        # A later talkspurt can have a delay shorter by the length of the pause before it.
        reach = np.minimum(np.arange(count) + (spurt.start - last.end) // each, count - 1)
        least = np.minimum.accumulate(value)
        # Index at which the minimum so far was reached.
        where = np.maximum.accumulate(np.where(value == least, np.arange(count), 0))
        behind.append(where[reach])
        value = least[reach] + cost
    chosen = [int(np.argmin(value))]
    for back in reversed(behind):
        chosen.append(int(back[chosen[-1]]))
    return chosen[::-1]


_USAGE = "oracle:MS"

ORACLE = BufferKind(
    name="oracle",
    summary="a bound: the best that delays between pauses can be, knowing the whole trace",
    usage=_USAGE,
    make=lambda spec, rest: Oracle(milliseconds(spec, rest, _USAGE)),
    look=Look("oracle (bound)", "black", "dotted", "none"),
)
