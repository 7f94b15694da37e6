"""RTP packets on the wire. Source: RFC 3550 5.1 and 5.3.1. No input or output here."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_FIXED = struct.Struct("!BBHII")


class MalformedPacket(ValueError):
    """Bytes that are no RTP or RTCP packet, with what is wrong with them."""


@dataclass(frozen=True)
class RtpPacket:
    """One RTP packet. `bytes(packet)` is its wire form; padding is removed when parsed and never written."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    contributors: tuple[int, ...] = ()
    """CSRC list, at most 15."""
    extension: tuple[int, bytes] | None = None
    """Profile-defined number and data, a whole number of 32-bit words."""

    def __bytes__(self) -> bytes:
        first = 0x80 | (0x10 if self.extension is not None else 0) | len(self.contributors)
        second = (0x80 if self.marker else 0) | self.payload_type
        head = _FIXED.pack(first, second, self.sequence, self.timestamp, self.ssrc)
        head += struct.pack(f"!{len(self.contributors)}I", *self.contributors)
        if self.extension is not None:
            profile, data = self.extension
            head += struct.pack("!HH", profile, len(data) // 4) + data
        return head + self.payload

    @staticmethod
    def parse(data: bytes) -> RtpPacket:
        """Read one packet; raises MalformedPacket."""
        if len(data) < _FIXED.size:
            raise MalformedPacket(f"{len(data)} bytes are too short for an RTP header")
        first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
        if first >> 6 != 2:
            raise MalformedPacket(f"RTP version {first >> 6} is not 2")
        at = _FIXED.size + 4 * (first & 15)
        if len(data) < at:
            raise MalformedPacket("the contributing sources are cut off")
        contributors = struct.unpack_from(f"!{first & 15}I", data, _FIXED.size)
        extension = None
        if first & 0x10:
            if len(data) < at + 4:
                raise MalformedPacket("the header extension is cut off")
            profile, words = struct.unpack_from("!HH", data, at)
            at += 4
            if len(data) < at + 4 * words:
                raise MalformedPacket("the header extension is cut off")
            extension = (profile, data[at : at + 4 * words])
            at += 4 * words
        end = len(data)
        if first & 0x20:
            padding = data[-1]
            if padding == 0 or at + padding > end:
                raise MalformedPacket(f"{padding} bytes of padding do not fit")
            end -= padding
        return RtpPacket(
            second & 0x7F, sequence, timestamp, ssrc, data[at:end], bool(second & 0x80), contributors, extension
        )
