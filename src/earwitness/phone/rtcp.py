"""RTCP packets on the wire: SR, RR, SDES, BYE. Source: RFC 3550 6.4 to 6.6. No input or output here."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from earwitness.trace.rtp import MalformedPacket

_SENDER_REPORT, _RECEIVER_REPORT, _SOURCE_DESCRIPTION, _GOODBYE = 200, 201, 202, 203
_CNAME = 1
_NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 (NTP) to 1970 (Unix)."""


def ntp_from_ns(time_ns: int) -> int:
    """Convert ns since 1970 to 64-bit NTP time: seconds since 1900 in the high half, a fraction below (RFC 3550 4)."""
    seconds, rest = divmod(time_ns, 10**9)
    return (((seconds + _NTP_EPOCH_S) & 0xFFFFFFFF) << 32) | ((rest << 32) // 10**9)


def middle_of(ntp: int) -> int:
    """Return the middle 32 bits of an NTP time, in 1/65,536 s, as in LSR."""
    return (ntp >> 16) & 0xFFFFFFFF


@dataclass(frozen=True)
class ReportBlock:
    """A receiver's report on one source (RFC 3550 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """In 1/256, since the previous report."""
    cumulative_lost: int
    """Signed 24 bits: duplicates can make it negative."""
    highest_sequence: int
    """Extended: cycle count in the high 16 bits, sequence number in the low 16."""
    jitter: int
    """In units of the RTP clock."""
    last_sr: int
    """Middle 32 bits of the NTP time in the last SR from this source; 0: none received yet."""
    delay_since_last_sr: int
    """1/65,536 s."""

    def __bytes__(self) -> bytes:
        lost = self.cumulative_lost & 0xFFFFFF
        return struct.pack(
            "!IIIIII",
            self.ssrc,
            (self.fraction_lost << 24) | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        )

    @staticmethod
    def parse(data: bytes) -> ReportBlock:
        """Read the 24 bytes of a block."""
        ssrc, losses, highest, jitter, last_sr, delay = struct.unpack("!IIIIII", data)
        lost = losses & 0xFFFFFF
        return ReportBlock(
            ssrc, losses >> 24, lost - (1 << 24) if lost & 0x800000 else lost, highest, jitter, last_sr, delay
        )


@dataclass(frozen=True)
class SenderReport:
    """SR (RFC 3550 6.4.1)."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = struct.pack("!IQIII", self.ssrc, self.ntp, self.rtp_timestamp, self.packets, self.octets)
        return _packet(_SENDER_REPORT, len(self.blocks), body + b"".join(map(bytes, self.blocks)))


@dataclass(frozen=True)
class ReceiverReport:
    """RR (RFC 3550 6.4.2)."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = struct.pack("!I", self.ssrc) + b"".join(map(bytes, self.blocks))
        return _packet(_RECEIVER_REPORT, len(self.blocks), body)


@dataclass(frozen=True)
class SourceDescription:
    """SDES of one source with its CNAME (RFC 3550 6.5.1); other items are ignored when parsed."""

    ssrc: int
    cname: str

    def __bytes__(self) -> bytes:
        name = self.cname.encode()[:255]
        chunk = struct.pack("!IBB", self.ssrc, _CNAME, len(name)) + name
        return _packet(_SOURCE_DESCRIPTION, 1, chunk + bytes(4 - len(chunk) % 4))


@dataclass(frozen=True)
class Goodbye:
    """BYE (RFC 3550 6.6)."""

    ssrcs: tuple[int, ...]
    reason: str = ""

    def __bytes__(self) -> bytes:
        body = struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs)
        if self.reason:
            text = self.reason.encode()[:255]
            body += bytes([len(text)]) + text
            body += bytes(-len(body) % 4)
        return _packet(_GOODBYE, len(self.ssrcs), body)


@dataclass(frozen=True)
class OtherPacket:
    """A packet of a type that we do not use (APP, feedback, XR), unparsed."""

    packet_type: int
    body: bytes


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | OtherPacket


def compound(packets: Sequence[RtcpPacket]) -> bytes:
    """Join several packets into one datagram (RFC 3550 6.1: a report first, then SDES)."""
    return b"".join(bytes(packet) for packet in packets if not isinstance(packet, OtherPacket))


def parse_compound(data: bytes) -> list[RtcpPacket]:
    """Parse every packet of a datagram; raises MalformedPacket."""
    packets: list[RtcpPacket] = []
    at = 0
    while at < len(data):
        if len(data) < at + 4:
            raise MalformedPacket("an RTCP header is truncated")
        first, packet_type, words = struct.unpack_from("!BBH", data, at)
        if first >> 6 != 2:
            raise MalformedPacket(f"RTCP version {first >> 6} is not 2")
        end = at + 4 + 4 * words
        if end > len(data):
            raise MalformedPacket(f"an RTCP packet of {4 + 4 * words} bytes is truncated to {len(data) - at}")
        body = data[at + 4 : end]
        if first & 0x20:
            if not body or not 0 < body[-1] <= len(body):
                raise MalformedPacket("the padding of an RTCP packet does not fit")
            body = body[: -body[-1]]
        packets.append(_parse_one(packet_type, first & 31, body))
        at = end
    if not packets:
        raise MalformedPacket("an empty datagram is not RTCP")
    return packets


def _parse_one(packet_type: int, count: int, body: bytes) -> RtcpPacket:
    try:
        if packet_type == _SENDER_REPORT:
            ssrc, ntp, timestamp, sent, octets = struct.unpack_from("!IQIII", body)
            return SenderReport(ssrc, ntp, timestamp, sent, octets, _blocks(body, 24, count))
        if packet_type == _RECEIVER_REPORT:
            return ReceiverReport(struct.unpack_from("!I", body)[0], _blocks(body, 4, count))
        if packet_type == _SOURCE_DESCRIPTION and count:
            return _first_chunk(body)
        if packet_type == _GOODBYE:
            ssrcs = struct.unpack_from(f"!{count}I", body)
            at = 4 * count
            reason = body[at + 1 : at + 1 + body[at]].decode(errors="replace") if len(body) > at else ""
            return Goodbye(ssrcs, reason)
    except (struct.error, IndexError) as error:
        raise MalformedPacket(f"an RTCP packet of type {packet_type} is truncated") from error
    return OtherPacket(packet_type, body)


def _blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    return tuple(ReportBlock.parse(body[at : at + 24]) for at in range(start, start + 24 * count, 24))


def _first_chunk(body: bytes) -> SourceDescription:
    ssrc, at, cname = struct.unpack_from("!I", body)[0], 4, ""
    while at < len(body) and body[at] != 0:
        length = body[at + 1]
        if body[at] == _CNAME:
            cname = body[at + 2 : at + 2 + length].decode(errors="replace")
        at += 2 + length
    return SourceDescription(ssrc, cname)


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, packet_type, len(body) // 4) + body
