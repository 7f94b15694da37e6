"""A fixed jitter buffer: every frame plays a constant time after the first packet's schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from earwitness.ear.base import CONCEAL, PAUSE, Pull, Stream, follows
from earwitness.ear.kind import BufferKind, milliseconds
from earwitness.errors import InputError
from earwitness.looks import Look

_RESTART_SECONDS = 10
"""Timestamps this far from their expected value start a new timeline, which is delayed anew."""


@dataclass(frozen=True)
class Fixed:
    """Playout delay fixed at the first packet of the stream (`fixed:60`).

    The first packet to arrive is held for `delay_ms`; after that one frame is taken at each tick, in the order of the
    RTP timestamps, whether it has arrived or not. So a frame plays `delay_ms` after its arrival if it took as long as
    the first one, and sooner if it took longer. This is how a phone with a fixed buffer behaves: it knows neither the
    minimum network delay nor the future, and if the first packet was slow, the whole call plays that much later. A
    frame that arrives after its playing time is late and dropped.
    """

    delay_ms: float
    wants_levels: ClassVar[bool] = False
    follows_phone_clock: ClassVar[bool] = False
    concealment: ClassVar[str] = "wsola"

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ms <= 10_000:
            raise InputError(
                "making a fixed buffer of", f"{self.delay_ms} ms", "out of range", "give 0 to 10000 milliseconds"
            )

    @property
    def spec(self) -> str:
        """The buffer's name on the command line."""
        return f"fixed:{self.delay_ms:g}"

    def clock_offset_ns(self, frame_ns: int) -> int:
        """Align the phone's clock so that the first packet plays after exactly `delay_ms`."""
        return round(self.delay_ms * 1e6) % frame_ns

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> FixedPlayout:
        """Start a stream."""
        return FixedPlayout(stream, round(self.delay_ms * 1e6))


class FixedPlayout:
    """A stream in a fixed buffer."""

    def __init__(self, stream: Stream, delay_ns: int) -> None:
        self._ticks = stream.frame_ticks
        self._delay_ns = delay_ns
        self._restart = _RESTART_SECONDS * stream.clock_rate
        self._begin_ns: int | None = None
        self._next = 0
        self._end = 0
        self._held: dict[int, tuple[int, int]] = {}
        self._last_sequence = 0
        self._empty: set[int] = set()

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        """Store the packet's frames, unless their playing time has passed."""
        if not count:
            self._empty.add(sequence)
            return
        if self._begin_ns is None:
            self._begin_ns = now_ns + self._delay_ns
            self._next = self._end = timestamp
            self._last_sequence = sequence - 1
        ticks = self._ticks
        if abs(timestamp - self._next) > self._restart:
            self._begin_ns = now_ns + self._delay_ns
            self._next = self._end = timestamp
            self._held.clear()
        # A sender may restart its timestamps off the grid; a frame then plays in the slot in which it begins.
        timestamp -= (timestamp - self._next) % ticks
        for index in range(frame, frame + count):
            if timestamp >= self._next and timestamp not in self._held:
                self._held[timestamp] = (index, sequence)
            timestamp += ticks
        if timestamp > self._end:
            self._end = timestamp

    def pull(self, now_ns: int) -> Pull:
        """The frame due now, if it has arrived."""
        start = self._next
        if self._begin_ns is None or now_ns < self._begin_ns:
            return PAUSE, start, start
        end = self._next = start + self._ticks
        held = self._held.pop(start, None)
        if held is not None:
            self._last_sequence = held[1]
            return held[0], start, end
        return (PAUSE if self._in_pause() else CONCEAL), start, end

    def _in_pause(self) -> bool:
        """Whether the next stored packet directly follows the last one played, so that nothing is missing."""
        if not self._held:
            return self._last_sequence + 1 in self._empty
        sequence = self._held[min(self._held)][1]
        return sequence <= self._last_sequence or follows(sequence, self._last_sequence, self._empty)

    @property
    def drained(self) -> bool:
        """Whether the last frame put has been pulled."""
        return self._next >= self._end


_USAGE = "fixed:MS (0 to 10000)"

FIXED = BufferKind(
    name="fixed",
    summary="a constant time after the first packet's arrival",
    usage=_USAGE,
    make=lambda spec, rest: Fixed(milliseconds(spec, rest, _USAGE)),
    look=Look("fixed", "blue", "dashed", "circle"),
)
