"""The RTP header (RFC 3550 5.1): a single packet as a value, or many headers parsed at once."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from earwitness.arrays import I32, I64, U8, Bool
from earwitness.trace.bytewindow import big_endian, window

HEADER_BYTES = 12
_FIXED = struct.Struct(">BBHII")


class MalformedPacket(ValueError):
    """The bytes are no RTP or RTCP packet; the text says what is wrong with them."""


@dataclass(frozen=True)
class RtpPacket:
    """One RTP packet. `RtpPacket.parse(bytes(packet)) == packet`.

    `extension` is the header extension's profile number and data (RFC 3550 5.3.1), the data a multiple of 4 bytes.
    `padding` counts the padding bytes at the end, including the count byte.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrc: tuple[int, ...] = field(default=())
    extension: tuple[int, bytes] | None = None
    padding: int = 0

    @staticmethod
    def parse(data: bytes) -> RtpPacket:
        """Parse one packet. Raises `MalformedPacket` with the reason if it is not RTP; never reads past the end."""
        if len(data) < HEADER_BYTES:
            raise MalformedPacket(f"{len(data)} bytes are too short for an RTP header")
        first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
        if first >> 6 != 2:
            raise MalformedPacket(f"RTP version {first >> 6} is not 2")
        at = HEADER_BYTES + 4 * (first & 0x0F)
        if len(data) < at:
            raise MalformedPacket(f"{first & 0x0F} contributing sources do not fit in {len(data)} bytes")
        csrc = struct.unpack_from(f">{first & 0x0F}I", data, HEADER_BYTES)
        extension = None
        if first & 0x10:
            if len(data) < at + 4:
                raise MalformedPacket("the header extension is cut off")
            profile, words = struct.unpack_from(">HH", data, at)
            at += 4
            if len(data) < at + 4 * words:
                raise MalformedPacket(f"a header extension of {words} words does not fit in {len(data)} bytes")
            extension = (profile, data[at : at + 4 * words])
            at += 4 * words
        padding = 0
        if first & 0x20:
            padding = data[-1]
            if not 0 < padding <= len(data) - at:
                raise MalformedPacket(f"{padding} bytes of padding do not fit in {len(data) - at}")
        payload = data[at : len(data) - padding]
        return RtpPacket(
            second & 0x7F, sequence, timestamp, ssrc, payload, bool(second & 0x80), csrc, extension, padding
        )

    def __bytes__(self) -> bytes:
        """The packet in wire format. Raises `MalformedPacket` if a field is out of range."""
        if len(self.csrc) > 15 or not 0 <= self.payload_type < 128 or not 0 <= self.padding < 256:
            raise MalformedPacket("a field is out of range")
        first = 0x80 | (0x20 if self.padding else 0) | (0x10 if self.extension else 0) | len(self.csrc)
        second = (0x80 if self.marker else 0) | self.payload_type
        try:
            parts = [
                _FIXED.pack(first, second, self.sequence, self.timestamp, self.ssrc),
                struct.pack(f">{len(self.csrc)}I", *self.csrc),
            ]
            if self.extension:
                profile, data = self.extension
                if len(data) % 4:
                    raise MalformedPacket("a header extension must be a whole number of 32-bit words")
                parts.append(struct.pack(">HH", profile, len(data) // 4) + data)
        except struct.error as error:
            raise MalformedPacket(f"a field is out of range: {error}") from error
        parts.append(self.payload)
        if self.padding:
            parts.append(bytes(self.padding - 1) + bytes([self.padding]))
        return b"".join(parts)


@dataclass(frozen=True, eq=False)
class RtpHeaders:
    """The headers of many packets; arrays of shape (n,).

    `looks_right` marks the rows that are well-formed RTP: version 2, not RTCP, and everything that the header announces
    before the payload fits within the packet. `payload_at` is an offset into the UDP payload; `payload_size` is the
    size on the wire without padding, if the padding count was captured and fits. `padding` is that count, -1 where it
    does not fit, 0 without padding. In SRTP the last byte is ciphertext or tag, so a count that does not fit is no
    reason to reject a packet, and one that fits may be chance.
    """

    looks_right: Bool
    payload_type: U8
    marker: Bool
    sequence: I32
    timestamp: I64
    ssrc: I64
    payload_at: I32
    payload_size: I32
    padding: I32


def is_rtcp(second_byte: U8) -> Bool:
    """Whether the second byte of a version 2 packet marks it as RTCP (RFC 5761 4: packet types 192 to 223)."""
    return np.asarray((second_byte >= 192) & (second_byte <= 223))


def parse_headers(data: U8, start: I64, captured: I32, length: I32) -> RtpHeaders:
    """Parse the RTP headers of datagrams whose payloads begin at `start`; all arrays (n,). Never raises.

    `captured` and `length` are the payload bytes captured and on the wire.
    """
    fixed = window(data, start, HEADER_BYTES)
    first, second = fixed[:, 0], fixed[:, 1]
    right = (captured >= HEADER_BYTES) & (first >> 6 == 2) & ~is_rtcp(second)
    size = HEADER_BYTES + 4 * (first & 0x0F).astype(np.int32)
    extended = right & ((first & 0x10) != 0)
    if extended.any():
        rows = np.flatnonzero(extended)
        whole = captured[rows] >= size[rows] + 4
        right[rows[~whole]] = False
        rows = rows[whole]
        words = big_endian(window(data, start[rows] + size[rows], 4), 2, 2).astype(np.int32)
        size[rows] += 4 + 4 * words
    right &= size <= length
    payload = np.maximum(length - size, 0)
    padding = np.zeros(len(start), dtype=np.int32)
    padded = right & ((first & 0x20) != 0)
    if padded.any():
        # The count is the last byte, which is available only if the whole packet was captured.
        rows = np.flatnonzero(padded & (captured == length))
        count = window(data, start[rows] + captured[rows] - 1, 1)[:, 0].astype(np.int32)
        padding[rows] = np.where((count > 0) & (count <= payload[rows]), count, -1)
        payload[rows] -= np.maximum(padding[rows], 0)
    return RtpHeaders(
        looks_right=right,
        payload_type=(second & 0x7F).astype(np.uint8, copy=False),
        marker=second >> 7 != 0,
        sequence=fixed.view(">u2")[:, 1].astype(np.int32),
        timestamp=fixed.view(">u4")[:, 1].astype(np.int64),
        ssrc=fixed.view(">u4")[:, 2].astype(np.int64),
        payload_at=size,
        payload_size=payload.astype(np.int32, copy=False),
        padding=padding,
    )
