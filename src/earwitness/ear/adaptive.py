"""Earwitness's own jitter buffer: learns the playout delay from packet delays and changes it where it is least audible.

The delay of every packet relative to its RTP timestamp goes into a decaying histogram. From it the buffer knows, for
each playout delay, what share of the frames would be late, and aims for the delay beyond which waiting costs more than
it saves. It adjusts in pauses, by shortening or lengthening them; if the delay is far off, also in speech, by playing
it faster or slower. It never cuts words. A late frame is concealed and skipped; if several in a row are late, playing
waits for them instead, and the time is recovered afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from earwitness.ear.base import CONCEAL, PAUSE, Pull, Stream, follows
from earwitness.ear.delays import Delays
from earwitness.ear.kind import BufferKind, milliseconds
from earwitness.errors import InputError
from earwitness.looks import Look

_RESTART_SECONDS = 10
"""Timestamps this far from their expected value start a new timeline."""
_FASTER = (5, 4)
_SLOWER = (4, 5)
"""Packets of speech, and the number of packet lengths they are stretched to."""


@dataclass(frozen=True)
class Adaptive:
    """The `adaptive` buffer; its parameter is what one percent of late frames is worth (`adaptive:30`).

    `worth_ms`: how much additional delay is acceptable for one percent fewer late frames. By ITU-T G.107 a percent of
    loss costs G.711 3.6 R, and a millisecond 0.13 R above 177 ms of mouth-to-ear delay, so it is worth 27 ms.
    `first_ms`: initial delay above the fastest packet's; less if the first packets arrive evenly, down to `least_ms`,
    which is also the minimum later on. `late_run_ms`: this much consecutive late speech is waited for instead of
    skipped, until the delay is `most_ms` above the target. `pause_ms`: a quiet period this long is a pause whose length
    may be changed; if the delay is `hurry_ms` above the target, any quiet frame may be dropped. `slack_ms`, `spare_ms`:
    within this distance below and above the target nothing is changed, because changes may be audible. `stretch_ms`: at
    this distance from the target, speech is stretched. `memory_s`: time after which a packet's weight falls by a factor
    e.
    """

    worth_ms: float = 20.0
    first_ms: float = 140.0
    least_ms: float = 50.0
    late_run_ms: float = 40.0
    most_ms: float = 400.0
    pause_ms: float = 200.0
    hurry_ms: float = 160.0
    slack_ms: float = 30.0
    spare_ms: float = 80.0
    stretch_ms: float = 320.0
    memory_s: float = 30.0
    concealment: ClassVar[str] = "wsola"
    wants_levels: ClassVar[bool] = True
    follows_phone_clock: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.worth_ms <= 1000:
            raise InputError(
                "making an adaptive buffer of",
                f"{self.worth_ms} ms for a percent of late frames",
                "out of range",
                "give more than 0 and at most 1000",
            )

    @property
    def spec(self) -> str:
        """The buffer's name on the command line."""
        return "adaptive" if self.worth_ms == Adaptive.worth_ms else f"adaptive:{self.worth_ms:g}"

    def clock_offset_ns(self, frame_ns: int) -> int:
        """Its clock is the sound device's."""
        return 0

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> AdaptivePlayout:
        """Start a stream."""
        return AdaptivePlayout(self, stream, quiet)


class AdaptivePlayout:
    """A stream in the adaptive buffer."""

    def __init__(self, settings: Adaptive, stream: Stream, quiet: Sequence[bool]) -> None:
        self._ticks = stream.frame_ticks
        self._each = stream.frames_per_packet
        self._frame_ns = stream.frame_ns
        self._rate = stream.clock_rate
        # A tick of RTP in ns as a fraction: whole for most clocks, and a division of large numbers is slow.
        shared = math.gcd(1_000_000_000, stream.clock_rate)
        self._ns_of_ticks, self._ticks_in_them = 1_000_000_000 // shared, stream.clock_rate // shared
        self._restart = _RESTART_SECONDS * stream.clock_rate
        self._late_run_most = round(settings.late_run_ms * 1e-3 * stream.clock_rate)
        self._most_ns = round(settings.most_ms * 1e6)
        self._hurry_ns = round(settings.hurry_ms * 1e6)
        self._slack_ns = round(settings.slack_ms * 1e6)
        self._spare_ns = round(settings.spare_ms * 1e6)
        self._far_ns = round(settings.stretch_ms * 1e6)
        self._behind_ns = -self._far_ns
        self._pause_frames = round(settings.pause_ms * 1e6 / stream.frame_ns)
        self._delays = Delays(
            settings.worth_ms, settings.first_ms, settings.least_ms, settings.memory_s, stream.packet_ns
        )
        self._quiet = quiet
        self._held: dict[int, tuple[int, int]] = {}
        self._empty: set[int] = set()
        self._came: set[int] = set()
        self._stretched: list[Pull] = []
        self._begun = False
        self._resting = True
        self._next = self._played_to = 0
        self._last_sequence = 0
        self._origin = 0
        self._now_ns = 0
        self._tick_ns: int | None = None
        self._quiet_run = self._late_run = 0

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        """Learn from the packet's delay, and store its frames."""
        if not count:
            self._empty.add(sequence)
            return
        came = self._came
        if sequence in came:
            # A second copy tells nothing of the network; a packet that comes late for the first time does.
            return
        came.add(sequence)
        ticks = self._ticks
        ahead = timestamp - self._next
        if not self._begun or not -self._restart <= ahead <= self._restart:
            self._begun = self._resting = True
            self._origin = timestamp - timestamp % self._rate
            self._next = self._played_to = timestamp
            self._held.clear()
            self._last_sequence = sequence - 1
            self._delays.restart()
        spoken_ns = (timestamp - self._origin) * self._ns_of_ticks
        if self._ticks_in_them > 1:
            spoken_ns //= self._ticks_in_them
        self._delays.add(now_ns - spoken_ns)
        start = self._next
        timestamp -= (timestamp - start) % ticks
        if timestamp >= start:
            self._late_run = 0
        elif timestamp >= self._played_to:
            self._late_run += count * ticks
            spurt = follows(sequence, self._last_sequence, self._empty) and timestamp > self._played_to
            if spurt or self._late_run >= self._late_run_most:
                self._go_back(now_ns, timestamp)
                start = self._next
        held = self._held
        for index in range(frame, frame + count):
            if timestamp not in held and timestamp >= start:
                held[timestamp] = (index, sequence)
            timestamp += ticks

    def _go_back(self, now_ns: int, timestamp: int) -> None:
        """Wait for late speech: play it now, and what follows later, within the permitted delay."""
        oldest = self._origin + (now_ns - self._delays.target_ns - self._most_ns) * self._rate // 1_000_000_000
        skip = max(0, -(-(oldest - timestamp) // self._ticks)) * self._ticks
        self._next = min(timestamp + skip, self._next)

    def pull(self, now_ns: int) -> Pull:
        """The next frame, part of a pause, or a piece of faster or slower speech."""
        if now_ns == self._tick_ns:
            now_ns = self._now_ns + self._frame_ns
        else:
            self._tick_ns = now_ns
        self._now_ns = now_ns
        if self._stretched:
            return self._stretched.pop()
        start = self._next
        here = self._held.get(start)
        if here is None or self._resting:
            return self._without(start, here)
        spoken_ns = (start - self._origin) * self._ns_of_ticks
        if self._ticks_in_them > 1:
            spoken_ns //= self._ticks_in_them
        excess = now_ns - spoken_ns - self._delays.target_ns
        frame, sequence = here
        if self._quiet and self._quiet[frame]:
            if excess > self._spare_ns:
                if excess > self._hurry_ns or self._in_long_pause():
                    self._shorten(excess)
                    return self._play()
            elif excess < -self._slack_ns and self._in_long_pause():
                return PAUSE, start, start
            self._quiet_run += 1
        else:
            if not self._behind_ns <= excess <= self._far_ns and self._stretch(*(_FASTER if excess > 0 else _SLOWER)):
                return self._stretched.pop()
            self._quiet_run = 0
        # By far the most frequent case: `_play` without repeated lookups.
        del self._held[start]
        self._last_sequence = sequence
        end = self._next = self._played_to = start + self._ticks
        return frame, start, end

    def _without(self, start: int, here: tuple[int, int] | None) -> Pull:
        """In a pause, or where the next frame is missing."""
        if here is None and not self._resting:
            self._resting = self._in_pause()
        if self._resting:
            return self._rest()
        self._next = start + self._ticks
        return CONCEAL, start, self._next

    def _in_pause(self) -> bool:
        """Whether nothing is missing between the last frame played and the next one stored."""
        if not self._held:
            return self._last_sequence + 1 in self._empty
        return follows(self._held[min(self._held)][1], self._last_sequence, self._empty)

    def _rest(self) -> Pull:
        """During the speaker's pause: wait until the next talkspurt is due."""
        if self._held:
            first = min(self._held)
            if self._now_ns >= (first - self._origin) * 1_000_000_000 // self._rate + self._delays.target_ns:
                self._resting = False
                self._next = first
                return self._play()
        return PAUSE, self._next, self._next

    def _play(self) -> Pull:
        start = self._next
        end = self._next = self._played_to = start + self._ticks
        frame, self._last_sequence = self._held.pop(start)
        self._quiet_run = self._quiet_run + 1 if self._quiet and self._quiet[frame] else 0
        return frame, start, end

    def _is_quiet(self, timestamp: int) -> bool:
        one = self._held.get(timestamp)
        return one is not None and bool(self._quiet) and self._quiet[one[0]]

    def _in_long_pause(self) -> bool:
        """Whether the quiet period around the next frame, as far as it has arrived, is long enough to be a pause."""
        at, run = self._next, self._quiet_run
        while run < self._pause_frames and self._is_quiet(at):
            run += 1
            at += self._ticks
        return run >= self._pause_frames

    def _shorten(self, excess_ns: int) -> None:
        """Drop stored quiet frames, except the last."""
        while excess_ns >= self._frame_ns and self._is_quiet(self._next + self._ticks):
            _, self._last_sequence = self._held.pop(self._next)
            self._next += self._ticks
            excess_ns -= self._frame_ns

    def _stretch(self, speech: int, playing: int) -> bool:
        """Play the next `speech` packets in the time of `playing` packets, if they and the frame after them are
        stored."""
        speech, playing = speech * self._each, playing * self._each
        start, ticks, held = self._next, self._ticks, self._held
        if any(start + number * ticks not in held for number in range(speech + 1)):
            return False
        frame = held[start][0]
        edges = [start + number * speech * ticks // playing for number in range(playing + 1)]
        self._stretched = [(frame, *edge) for edge in pairwise(edges)][::-1]
        for number in range(speech):
            _, self._last_sequence = held.pop(start + number * ticks)
        self._next = self._played_to = start + speech * ticks
        self._quiet_run = 0
        return True

    @property
    def drained(self) -> bool:
        """Whether nothing is waiting."""
        return not self._held and not self._stretched


_USAGE = "adaptive[:WORTH_MS]"


def _make(spec: str, rest: str) -> Adaptive:
    return Adaptive(worth_ms=milliseconds(spec, rest, _USAGE)) if rest else Adaptive()


ADAPTIVE = BufferKind(
    name="adaptive",
    summary="follows the delay, and stretches and shortens speech to get there",
    usage=_USAGE,
    make=_make,
    look=Look("adaptive", "vermilion", "solid", "square", "slashes"),
)
