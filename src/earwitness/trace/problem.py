"""What is wrong with a capture, as a value: a broken file gives a partial result that says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """What kind of trouble a reader met. What could be read before and after it is in the result."""

    EMPTY = "empty"
    """A valid header and not one packet."""
    TRUNCATED = "truncated"
    """The file ends within a packet or block; everything before is kept."""
    CORRUPT = "corrupt"
    """A length that cannot be; nothing after it can be trusted, so reading stopped there."""
    BAD_TIME = "bad_time"
    """Packets without a time, or with one that cannot be; they are left out."""
    BAD_LENGTH = "bad_length"
    """Packets whose headers promise more or less than they hold; they are left out or clipped as said."""
    UNSUPPORTED = "unsupported"
    """Packets of a link layer or block that is not read; they are left out."""
    FRAGMENTED = "fragmented"
    """IP fragments: only the first one of a datagram is read, as far as it goes."""
    NO_RTP = "no_rtp"
    """Packets, but no RTP stream among them."""
    STRAY_SSRC = "stray_ssrc"
    """A second, much smaller RTP stream on the same flow."""


@dataclass(frozen=True)
class CaptureProblem:
    """One trouble met in a capture: its kind, a sentence, and where in the file (bytes), if it has a place."""

    kind: ProblemKind
    detail: str
    offset: int | None = None

    def __str__(self) -> str:
        place = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{self.kind}: {self.detail}{place}"
