"""RED and FEC packets built from the RFCs' pictures, independently of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from earwitness.trace.rtp import RtpPacket

Block = tuple[int, int, bytes]
"""Payload type, timestamp offset, bytes."""


def red(primary: Block, *redundant: Block) -> bytes:
    """The payload of a RED packet (RFC 2198 3): the redundant blocks, oldest first, before the primary one."""
    heads = b"".join(struct.pack(">BBH", 0x80 | pt, offset >> 6, (offset & 0x3F) << 10 | len(data))
                     for pt, offset, data in redundant)  # fmt: skip
    return heads + bytes([primary[0]]) + b"".join(data for _, _, data in redundant) + primary[2]


def red_stream(
    payloads: Sequence[bytes],
    *,
    depth: int = 1,
    step: int = 160,
    inner: int = 0,
    outer: int = 63,
    first: int = 1000,
    distance: int = 1,
) -> list[RtpPacket]:
    """The RTP packets of a stream in RED, each with the `depth` packets before it, or every `distance`th of them."""
    packets = []
    for i, payload in enumerate(payloads):
        ages = range(depth * distance, 0, -distance)
        before = [(inner, step * age, payloads[i - age]) for age in ages if i >= age]
        content = red((inner, 0, payload), *before)
        packets.append(RtpPacket(outer, (first + i) & 0xFFFF, (step * i) & 0xFFFFFFFF, 0xABCD, content, i == 0))
    return packets


def mixed(packets: Sequence[RtpPacket]) -> tuple[bytes, int, int, bytes]:
    """The exclusive-or of packets (RFC 5109 8.1): first two bytes, length, timestamp, and what follows the header."""
    flags = bytearray(2)
    length = timestamp = 0
    longest = max(len(bytes(packet)) for packet in packets) - 12
    body = bytearray(longest)
    for packet in packets:
        whole = bytes(packet)
        for i in (0, 1):
            flags[i] ^= whole[i]
        timestamp ^= packet.timestamp
        length ^= len(whole) - 12
        for i, byte in enumerate(whole[12:]):
            body[i] ^= byte
    return bytes([flags[0] & 0x3F, flags[1]]), length, timestamp, bytes(body)


def ulpfec(packets: Mapping[int, RtpPacket], *, protected: int | None = None, long_mask: bool = False) -> bytes:
    """The payload of a ULPFEC packet with one level over packets by their distance from the base (RFC 5109 7)."""
    flags, length, timestamp, body = mixed(list(packets.values()))
    base = next((packet.sequence - distance) & 0xFFFF for distance, packet in packets.items())
    body = body[:protected]
    bits = 48 if long_mask else 16
    mask = sum(1 << (bits - 1 - distance) for distance in packets)
    head = bytes([flags[0] | (0x40 if long_mask else 0), flags[1]]) + struct.pack(">HIH", base, timestamp, length)
    return head + struct.pack(">H", len(body)) + mask.to_bytes(bits // 8) + body


def flexfec(packets: Mapping[int, RtpPacket], *, draft: bool = False, grid: tuple[int, int] | None = None) -> bytes:
    """The payload of a FlexFEC packet (RFC 8627 4.2.2; `draft`: version 03 of its draft), with a mask or a grid."""
    flags, length, timestamp, body = mixed(list(packets.values()))
    base = next((packet.sequence - distance) & 0xFFFF for distance, packet in packets.items())
    head = bytes([flags[0] | (0x40 if grid else 0), flags[1]]) + struct.pack(">HI", length, timestamp)
    if draft:
        head += struct.pack(">BxxxI", 1, next(iter(packets.values())).ssrc)
    head += struct.pack(">H", base)
    if grid:
        return head + bytes(grid) + body
    bits = "".join("1" if distance in packets else "0" for distance in range(110))
    parts = [bits[:15], bits[15:46], bits[46:110]]
    used = max(i for i, part in enumerate(parts) if "1" in part) + 1
    text = ""
    for i, part in enumerate(parts[:used]):
        last = i == used - 1
        if i < 2:
            text += ("1" if last == draft else "0") + part
        else:
            text += "1" + part[:63] if draft else part
    return head + int(text, 2).to_bytes(len(text) // 8) + body
