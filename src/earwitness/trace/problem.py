"""Problems found in a capture, as values: a damaged file yields a partial result that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """The kind of problem. Everything readable before and after it is in the result."""

    EMPTY = "empty"
    """A valid header but no packets."""
    TRUNCATED = "truncated"
    """The file ends within a packet or block; everything before it is kept."""
    CORRUPT = "corrupt"
    """An impossible length. Nothing after it can be trusted, so reading stopped there."""
    BAD_TIME = "bad_time"
    """Packets without a time, or with an impossible one; skipped."""
    BAD_LENGTH = "bad_length"
    """Packets whose headers promise more or less than they hold; skipped or clipped, as described."""
    UNSUPPORTED = "unsupported"
    """Packets of an unsupported link layer, carrier or block type; skipped."""
    FRAGMENTED = "fragmented"
    """IP fragments or TCP segments of a datagram or message are missing: SIP is read as far as it goes; RTP was not
    received, or is cut (`incomplete`)."""
    NO_RTP = "no_rtp"
    """Packets, but no RTP stream."""
    STRAY_SSRC = "stray_ssrc"
    """Several RTP streams on one flow in one call, at the same time or one after the other."""


@dataclass(frozen=True)
class CaptureProblem:
    """One problem in a capture: its kind, a description, and its byte offset in the file if it has one."""

    kind: ProblemKind
    detail: str
    offset: int | None = None

    def __str__(self) -> str:
        place = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{self.kind}: {self.detail}{place}"
