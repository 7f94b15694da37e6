"""What a jitter buffer is: it is given packets and the time, and hands out frames to play."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

CONCEAL = -1
"""Pulled instead of a frame: nothing to play here, make something up."""

PAUSE = -2
"""Pulled instead of a frame: the speaker is silent here, nothing is missing."""

Pull = tuple[int, int, int]
"""What one pull hands out: (frame, start, end).

`frame` is an index into the stream's frames, or `CONCEAL` or `PAUSE`. `start` and `end` are the RTP timestamps
(extended, in the stream's clock) of the media that this frame length of playing covers: `end - start` equals the
frame's ticks where the media plays at its own speed, is larger where speech is accelerated, smaller where it is
expanded, and 0 where time passes and the media waits.
"""


class Fate(StrEnum):
    """What became of a frame that was sent."""

    PLAYED = "played"
    STRETCHED = "stretched"
    """Played, faster or slower than spoken."""
    LATE = "late"
    """Arrived after its instant to play."""
    DISCARDED = "discarded"
    """Arrived in time and thrown away by the buffer (overflow, shrinking, end of the recording)."""
    DUPLICATE = "duplicate"
    """Another copy had arrived before."""
    LOST = "lost"
    """Never arrived."""
    CONCEALED = "concealed"
    """Not a frame that was sent: a frame length of made-up sound where speech was missing."""
    PAUSE = "pause"
    """Not a frame that was sent: a frame length in which the speaker was silent and nothing was missing."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a phone knows of a stream from its SDP before the first packet."""

    clock_rate: int
    """RTP clock, Hz."""
    frame_ticks: int
    """RTP ticks in one codec frame."""
    frames_per_packet: int
    """Codec frames in one packet of the negotiated ptime."""

    @property
    def frame_ns(self) -> int:
        """Length of one frame, ns."""
        return self.frame_ticks * 1_000_000_000 // self.clock_rate


def follows(sequence: int, last: int, empty: Container[int]) -> bool:
    """Whether packet `sequence` is the next one with frames after packet `last`: all between are known to be `empty`
    (comfort noise, telephone events), so that nothing is missing between their frames."""
    return sequence > last and all(number in empty for number in range(last + 1, sequence))


class Playout(Protocol):
    """One stream's passage through a jitter buffer: mutable, used once."""

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        """A packet has arrived: frames `frame` ... `frame + count - 1`, the first one at RTP `timestamp`. Packets of
        comfort noise and telephone events have none (`count` 0)."""
        ...

    def pull(self, now_ns: int) -> Pull:
        """One frame length of sound is wanted now."""
        ...

    @property
    def drained(self) -> bool:
        """Whether, if no more is put, nothing more will be pulled."""
        ...


class JitterBuffer(Protocol):
    """A kind of jitter buffer with its settings; immutable."""

    @property
    def spec(self) -> str:
        """As on the command line: `fixed:60`."""
        ...

    @property
    def concealment(self) -> str:
        """The concealment that a phone with this buffer uses, unless told otherwise."""
        ...

    def clock_offset_ns(self, frame_ns: int) -> int:
        """Where the first tick of the playing clock falls after the first arrival, for a phone whose own clock was
        not captured; ns, less than one tick."""
        ...

    @property
    def wants_levels(self) -> bool:
        """Whether it looks at how loud frames are: then it is told which ones are quiet."""
        ...

    @property
    def follows_phone_clock(self) -> bool:
        """Whether it plays by the clock of the phone that was captured, where a capture shows that; else by an exact
        clock."""
        ...

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> Playout:
        """Start a stream. `quiet[frame]`: whether that frame has no speech in it; may be asked of frames that were put,
        since a phone can decode what it has."""
        ...
