"""The jitter buffer interface: it is given packets and the time, and returns frames to play."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

CONCEAL = -1
"""Returned instead of a frame: there is nothing to play here; conceal."""

PAUSE = -2
"""Returned instead of a frame: the speaker is silent here; nothing is missing."""

Pull = tuple[int, int, int]
"""The result of one pull: (frame, start, end).

`frame` is an index into the stream's frames, or `CONCEAL` or `PAUSE`. `start` and `end` are the RTP timestamps
(extended, in the stream's clock) of the media played during this frame length: `end - start` equals the frame's ticks
at normal speed, is larger if speech is accelerated, smaller if it is expanded, and 0 if time passes while the media
waits.
"""


class Fate(StrEnum):
    """What happened to a frame that was sent."""

    PLAYED = "played"
    STRETCHED = "stretched"
    """Played, faster or slower than spoken."""
    LATE = "late"
    """Arrived after its playing time."""
    DISCARDED = "discarded"
    """Arrived in time but dropped by the buffer (overflow, shrinking, end of the recording)."""
    DUPLICATE = "duplicate"
    """Another copy had arrived before."""
    LOST = "lost"
    """Never arrived."""
    CONCEALED = "concealed"
    """Not a sent frame: a frame length of concealment where speech was missing."""
    PAUSE = "pause"
    """Not a sent frame: a frame length in which the speaker was silent and nothing was missing."""
    UNHEARD = "unheard"
    """Arrived before the phone began to play, or after it had ended; neither lost nor discarded (RFC 3611 4.7.1)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a phone knows about a stream from its SDP, before the first packet."""

    clock_rate: int
    """RTP clock, Hz."""
    frame_ticks: int
    """RTP ticks in one frame: one slot of the playing grid (see `grid`)."""
    frames_per_packet: int
    """Frames that the phone's sound device takes in one tick: those in a packet of the negotiated ptime."""
    usual_count: int = 0
    """Frames that most of the packets really hold; 0: as many."""

    @property
    def frame_ns(self) -> int:
        """Length of one frame, ns."""
        return self.frame_ticks * 1_000_000_000 // self.clock_rate

    @property
    def packet_ns(self) -> int:
        """Time from one packet to the next, but at most from one tick to the next; ns."""
        return self.frame_ns * min(self.frames_per_packet, self.usual_count or self.frames_per_packet)


def follows(sequence: int, last: int, empty: Container[int]) -> bool:
    """Whether packet `sequence` is the next one with frames after packet `last`: all between are known to be `empty`
    (comfort noise, telephone events), so nothing is missing."""
    return sequence > last and all(number in empty for number in range(last + 1, sequence))


class Playout(Protocol):
    """One stream in a jitter buffer: mutable, used once."""

    def put(self, now_ns: int, frame: int, timestamp: int, count: int, sequence: int) -> None:
        """Add a packet: frames `frame` ... `frame + count - 1`, the first one at RTP `timestamp`. Packets of comfort
        noise and telephone events have none (`count` 0)."""
        ...

    def pull(self, now_ns: int) -> Pull:
        """Return the next frame length of audio."""
        ...

    @property
    def drained(self) -> bool:
        """Whether nothing more will be pulled unless more is put."""
        ...


class JitterBuffer(Protocol):
    """A jitter buffer with its settings; immutable."""

    @property
    def spec(self) -> str:
        """The buffer's name on the command line: `fixed:60`."""
        ...

    @property
    def concealment(self) -> str:
        """The default concealment of a phone with this buffer."""
        ...

    def clock_offset_ns(self, frame_ns: int) -> int:
        """Offset of the playing clock's first tick from the first arrival, for a phone whose own clock was not
        captured; ns, less than one tick."""
        ...

    @property
    def wants_levels(self) -> bool:
        """Whether it uses the loudness of frames; it is then told which ones are quiet."""
        ...

    @property
    def follows_phone_clock(self) -> bool:
        """Whether it plays by the captured phone's clock, if a capture shows it; otherwise by an exact clock."""
        ...

    def open(self, stream: Stream, quiet: Sequence[bool] = ()) -> Playout:
        """Start a stream. `quiet[frame]`: whether that frame contains no speech; may be read for frames that were put,
        because a phone can decode what it has."""
        ...
