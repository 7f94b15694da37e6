"""The jitter buffer of PJMEDIA 2.x, the media stack of the published study's phones (PJSIP 2.6).

Written from its documented behaviour (docs.pjsip.org, "Jitter buffer features and operations") and from observation:
frames are indexed by RTP timestamp; an empty buffer restarts with the next packet; the depth follows the largest recent
burst of puts between gets; excess depth is discarded one frame at a time ("progressive discard").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from earwitness.ear.base import CONCEAL, Pull, Stream
from earwitness.ear.kind import BufferKind
from earwitness.errors import InputError
from earwitness.looks import Look

_SHED = -1
"""Marks the place of a discarded frame."""
_MISORDER, _DROPOUT = 100, 3000
"""Distance behind, and ahead, in frames, that counts as a restart."""
_WARM_UP = 10
"""Alternations of put and get before the burst level is measured."""
_STABLE = 20
"""Consecutive lower bursts after which the level falls."""


@dataclass(frozen=True)
class Pjmedia:
    """PJMEDIA's adaptive buffer and its settings; the defaults are those of the study's phones (`pjmedia`).

    `capacity_ms`: total capacity. `prefetch_ms`: the initial prefetch; 0 disables prefetching. Otherwise playing waits,
    at the start and whenever the buffer runs empty, for as many frames as the burst level, limited to `min_prefetch_ms`
    (0: one frame) and `max_prefetch_ms` (0: 4/5 of the capacity). `discard_gap_ms`: minimum stream time between two
    discarded frames. `discard_fast_ms`, `discard_slow_ms`: stream time to discard one frame of excess at burst level 1
    and at burst level 100.
    """

    capacity_ms: int = 500
    prefetch_ms: int = 0
    min_prefetch_ms: int = 0
    max_prefetch_ms: int = 0
    discard_gap_ms: int = 200
    discard_fast_ms: int = 2000
    discard_slow_ms: int = 10_000
    wants_levels: ClassVar[bool] = False
    follows_phone_clock: ClassVar[bool] = True
    concealment: ClassVar[str] = "pjmedia"

    def __post_init__(self) -> None:
        if not 20 <= self.capacity_ms <= 10_000 or not 0 <= self.prefetch_ms <= self.capacity_ms:
            raise InputError(
                "making a pjmedia buffer of",
                f"capacity {self.capacity_ms} ms, prefetch {self.prefetch_ms} ms",
                "out of range",
                "give a capacity of 20 to 10000 ms and a prefetch of at most that",
            )

    @property
    def spec(self) -> str:
        """The buffer's name on the command line."""
        standard = Pjmedia()
        changed = [
            f"{name}={getattr(self, key)}"
            for name, key in _SETTINGS.items()
            if getattr(self, key) != getattr(standard, key)
        ]
        return "pjmedia" + (":" + ",".join(changed) if changed else "")

    def clock_offset_ns(self, frame_ns: int) -> int:
        """Its sound device's clock is independent of the packets."""
        return 0

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> PjmediaPlayout:
        """Start a stream."""
        return PjmediaPlayout(self, stream)


class PjmediaPlayout:
    """A stream in PJMEDIA's buffer.

    Frames wait in places `origin` ... `origin + size - 1`, numbered by RTP timestamp over frame length. A place can
    hold a frame, be empty (a missing frame), or be shed (discarded); decisions are based on the depth, `size - shed`.
    """

    def __init__(self, settings: Pjmedia, stream: Stream) -> None:
        frame_us = stream.frame_ns // 1000
        self._ticks = stream.frame_ticks
        self._frame_us = frame_us
        self._capacity = -(-1000 * settings.capacity_ms // frame_us)
        self._prefetching = 1000 * settings.prefetch_ms >= frame_us
        self._prefetch_least = 1000 * settings.min_prefetch_ms // frame_us or 1
        self._prefetch_most = 1000 * settings.max_prefetch_ms // frame_us or self._capacity * 4 // 5
        self._shed_gap = 1000 * settings.discard_gap_ms // frame_us
        self._shed_fast, self._shed_slow = settings.discard_fast_ms, settings.discard_slow_ms
        self._longest_burst = max(1_000_000 // frame_us, self._capacity * 3 // 4)

        self._places: dict[int, int] = {}
        self._origin = -9999
        self._size = self._shed = 0
        self._empty_since_ns: int | None = None

        self._last_was_put: bool | None = None
        self._alternations = 0
        self._measuring = False
        self._burst = self._level = self._highest = self._calm = 0
        self._prefetch = 1000 * settings.prefetch_ms // frame_us
        self._filling = self._prefetching
        self._shed_distance = self._shed_last = 0

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        """Store the packet's frames."""
        place = timestamp // self._ticks
        if count == 1:  # the usual case, without the cost of a range
            self._put_frame(frame, place)
            return
        for offset in range(count):
            self._put_frame(frame + offset, place + offset)

    def _put_frame(self, frame: int, place: int) -> None:
        before = self._size - self._shed
        within_reach = self._size and 0 <= place - self._origin < self._capacity
        if not (within_reach or self._make_room(place)) or place in self._places:
            return
        self._places[place] = frame
        reached = place - self._origin + 1
        if reached > self._size:
            self._size = reached
        depth = self._size - self._shed
        if self._filling and depth >= self._prefetch:
            self._filling = False
        if self._last_was_put:
            self._burst += depth - before if depth > before else 1
        else:
            self._last_was_put = True
            self._burst = 0
            if not self._measuring:
                self._alternations += 1
        if self._measuring:
            self._shed_excess(depth)

    def _make_room(self, place: int) -> bool:
        """Make `place` fit into the buffer; False if it is too late to play."""
        behind = self._origin - place
        if behind > 0:
            if behind < _MISORDER:
                return False
            # The sender restarted its numbering: move the waiting frames in front of the new ones.
            shift = place - self._size - self._origin
            self._places = {at + shift: frame for at, frame in self._places.items()}
            self._origin += shift
        if self._size == 0:
            self._origin = place
        excess = place - self._origin - self._capacity + 1
        if excess > 0:
            if place - self._origin > _DROPOUT:
                self._places.clear()
                self._size = self._shed = 0
            else:
                self._drop_oldest(excess)
            if self._size == 0:
                self._origin = place
        return True

    def _drop_oldest(self, count: int) -> None:
        for _ in range(min(count, self._size)):
            if self._places.pop(self._origin, 0) == _SHED:
                self._shed -= 1
            self._origin += 1
            self._size -= 1

    def _shed_excess(self, depth: int) -> None:
        """Mark one frame for skipping if the depth has long exceeded what the bursts need."""
        level = self._level if self._level > self._burst else self._burst
        if depth <= level:
            self._shed_distance = 0
            return
        if level <= 1:
            within_ms = self._shed_fast
        elif level >= 100:
            within_ms = self._shed_slow
        else:
            within_ms = self._shed_fast + (self._shed_slow - self._shed_fast) * (level - 1) // 99
        newest = self._origin + self._size - 1
        if self._shed_distance == 0 or newest < self._shed_last:
            self._shed_last = newest
        self._shed_distance = max(self._shed_gap, 1000 * (within_ms // (depth - level)) // self._frame_us)
        if newest >= self._shed_last + self._shed_distance:
            place = max(self._shed_last + self._shed_distance, self._origin)
            self._places[place] = _SHED
            self._shed += 1
            self._shed_last = place

    def pull(self, now_ns: int) -> Pull:
        """The oldest frame; `CONCEAL` if it is missing, follows a discarded one, or the buffer is empty."""
        ticks = self._ticks
        here = self._origin * ticks
        if self._empty_since_ns == now_ns:
            # Once found empty, the buffer is not asked again in the same tick.
            return CONCEAL, here, here
        pulled = CONCEAL, here, here
        if self._filling:
            self._empty_since_ns = now_ns
        else:
            places = self._places
            after_shed = False
            while self._size and places.get(self._origin) == _SHED:
                self._drop_oldest(1)
                after_shed = True
            if self._size:
                frame = places.pop(self._origin, CONCEAL)
                begin = self._origin * ticks
                pulled = (CONCEAL if after_shed else frame), begin, begin + ticks
                self._origin += 1
                self._size -= 1
            else:
                self._filling = self._prefetching
                self._empty_since_ns = now_ns
        self._burst += 1
        if self._last_was_put is not False:
            self._last_was_put = False
            self._end_of_burst()
            self._burst = 0
        return pulled

    def _end_of_burst(self) -> None:
        """A get after puts: learn from their number."""
        if not self._measuring:
            self._alternations += 1
            if self._alternations < _WARM_UP:
                return
            self._measuring = True
            self._burst = min(self._burst, self._longest_burst)
        burst = self._burst
        if burst > self._longest_burst:
            return
        self._highest = max(self._highest, burst)
        if burst < self._level:
            self._calm += 1
            if self._calm > _STABLE:
                self._level -= max((self._level - self._highest) // 3, 1)
                if self._prefetching:
                    self._prefetch = max(self._level, self._prefetch_least)
                self._highest = self._calm = 0
            return
        if burst > self._level:
            self._level = min(self._highest, self._capacity * 4 // 5)
            if self._prefetching:
                self._prefetch = min(self._level, self._prefetch_most)
        self._calm = 0

    @property
    def drained(self) -> bool:
        """Whether nothing waits, or too few frames for playing ever to resume."""
        return self._size == 0 or self._filling


_SETTINGS = {
    "capacity": "capacity_ms",
    "prefetch": "prefetch_ms",
    "min": "min_prefetch_ms",
    "max": "max_prefetch_ms",
    "gap": "discard_gap_ms",
    "fast": "discard_fast_ms",
    "slow": "discard_slow_ms",
}
"""Fields by option."""
_USAGE = "pjmedia[:capacity=MS,prefetch=MS,min=MS,max=MS,gap=MS,fast=MS,slow=MS]"


def _make(spec: str, rest: str) -> Pjmedia:
    settings: dict[str, int] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in _SETTINGS or not (value.isascii() and value.isdigit()):
            raise InputError("using the jitter buffer", repr(spec), f"cannot read {part!r}", f"use {_USAGE}")
        settings[_SETTINGS[key]] = int(value)
    return Pjmedia(**settings)


PJMEDIA = BufferKind(
    name="pjmedia",
    summary="that of PJMEDIA, the published study's phones",
    usage=_USAGE,
    make=_make,
    look=Look("PJMEDIA", "green", "dash-dot", "triangle", "dots"),
)
