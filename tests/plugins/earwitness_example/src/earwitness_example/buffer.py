"""A fixed jitter buffer that begins anew where several packets in a row came too late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from earwitness.ear.base import CONCEAL, PAUSE, JitterBuffer, Pull, Stream
from earwitness.ear.kind import BufferKind
from earwitness.errors import InputError
from earwitness.looks import Look

LATE_IN_A_ROW = 3


@dataclass(frozen=True)
class Relearning:
    """Plays `delay_ms` after the first packet; after three late ones in a row, so long after the third of them."""

    delay_ms: int = 60
    concealment: str = "repeat"  # what fills a missing frame
    wants_levels: bool = False  # it does not look at how loud frames are
    follows_phone_clock: bool = False  # and plays by an exact clock

    @property
    def spec(self) -> str:
        return f"relearn:{self.delay_ms}"

    def clock_offset_ns(self, frame_ns: int) -> int:
        return self.delay_ms * 1_000_000 % frame_ns

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> RelearningPlayout:
        return RelearningPlayout(stream, self.delay_ms * 1_000_000)


class RelearningPlayout:
    """One stream's passage through it."""

    def __init__(self, stream: Stream, delay_ns: int) -> None:
        self._ticks, self._delay_ns = stream.frame_ticks, delay_ns
        self._begin_ns: int | None = None  # when the frame at `_next` is played
        self._next, self._end, self._last_sequence, self._late = 0, 0, 0, 0
        self._held: dict[int, tuple[int, int]] = {}  # (frame, sequence) by RTP timestamp

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        if not count:
            return  # comfort noise and telephone events have no frames
        self._late = self._late + 1 if self._begin_ns is not None and timestamp < self._next else 0
        if self._begin_ns is None or self._late == LATE_IN_A_ROW:
            self._begin_ns, self._next, self._late = now_ns + self._delay_ns, timestamp, 0
            self._last_sequence = sequence - 1
        for at in range(timestamp, timestamp + count * self._ticks, self._ticks):
            if at >= self._next:
                self._held.setdefault(at, (frame, sequence))
                self._end = max(self._end, at + self._ticks)
            frame += 1

    def pull(self, now_ns: int) -> Pull:
        start = self._next
        if self._begin_ns is None or now_ns < self._begin_ns:
            return PAUSE, start, start
        self._next += self._ticks
        if start in self._held:
            frame, self._last_sequence = self._held.pop(start)
            return frame, start, self._next
        following = self._held[min(self._held)][1] if self._held else None
        paused = following == self._last_sequence + 1  # nothing is missing: the speaker is silent
        return (PAUSE if paused else CONCEAL), start, self._next

    @property
    def drained(self) -> bool:
        return self._next >= self._end


def _make(spec: str, rest: str) -> JitterBuffer:
    if not (rest or "60").isdecimal() or not 0 <= int(rest or 60) <= 1000:
        raise InputError("using the jitter buffer", repr(spec), f"{rest!r} is not 0 to 1000", f"use {RELEARN.usage}")
    return Relearning(int(rest or 60))


RELEARN = BufferKind(
    name="relearn",
    summary="a constant time after the first packet, or after the third late one in a row",
    usage="relearn[:MS]",
    make=_make,
    look=Look("relearning", "orange", "long", "wedge", "backslashes"),
)
