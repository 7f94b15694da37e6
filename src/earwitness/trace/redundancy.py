"""Wire formats that carry speech twice: RED (RFC 2198), ULPFEC (RFC 5109) and FlexFEC (RFC 8627).

RED repeats earlier packets' payloads in a later packet. ULPFEC and FlexFEC send the exclusive-or of several packets,
from which a missing one can be restored. `earwitness.ear.redundancy` uses both as a receiver does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I32, I64, U8
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.payload_types import STATIC
from earwitness.trace.rtp import HEADER_BYTES, MalformedPacket, RtpPacket

MOST_BLOCKS = 18
"""Blocks read per RED packet: one more than the packets of 20 ms at 48 kHz that 14 bits of timestamp offset reach back.
Slower clocks reach further (102 packets at 8 kHz), but nobody sends as much; a packet with more counts as malformed."""
_EXAMINED = 256
"""Packets examined to find what a RED stream carries."""
_FIXED = struct.Struct(">BBHII")


@dataclass(frozen=True, eq=False)
class RedBlocks:
    """The blocks of many RED packets (RFC 2198 3), by packet and then in the order of their bytes; arrays (b,).

    - `row`: the packet's row; `payload_type`: the block's own.
    - `offset`: how many ticks its timestamp lies before the packet's. `age`: 0 for the primary block, 1 for the block
      before it, and so on: how many packets ago it was first sent, by custom.
    - `start`, `size`, `captured`: its bytes in `Payloads.data`, as for `Payloads`.

    `malformed`: rows of packets whose header is cut, or promises more bytes than there are, (m,).
    """

    row: I64
    payload_type: U8
    offset: I64
    age: I64
    start: I64
    size: I32
    captured: I32
    malformed: I64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: NDArray[Any]) -> RedBlocks:
        """The blocks selected by an index or boolean array."""
        return RedBlocks(
            self.row[chosen],
            self.payload_type[chosen],
            self.offset[chosen],
            self.age[chosen],
            self.start[chosen],
            self.size[chosen],
            self.captured[chosen],
            self.malformed,
        )


def red_blocks(payloads: Payloads, size: I32, rows: I64) -> RedBlocks:
    """The blocks of the RED packets in `rows`; `size` (n,) are all packets' payload sizes on the wire. Never raises."""
    begin, held = payloads.start[rows], payloads.captured[rows].astype(np.int64)
    headers = np.zeros(len(rows), dtype=np.int64)
    reading = np.arange(len(rows), dtype=np.int64)
    parts: list[tuple[NDArray[Any], ...]] = []
    for _ in range(MOST_BLOCKS):
        at = begin[reading] + headers[reading]
        first = window(payloads.data, at, 1)[:, 0]
        more = first >= 0x80
        whole = held[reading] - headers[reading] >= np.where(more, 4, 1)
        reading, at, first, more = reading[whole], at[whole], first[whole], more[whole]
        word = np.full(len(reading), -1, dtype=np.int64)
        word[more] = big_endian(window(payloads.data, at[more], 4), 0, 4)
        parts.append(
            (reading, first & 0x7F, np.where(more, (word >> 10) & 0x3FFF, 0), np.where(more, word & 0x3FF, -1))
        )
        headers[reading] += np.where(more, 4, 1)
        reading = reading[more]
        if not len(reading):
            break
    packet, payload_type, offset, length = (np.concatenate([part[i] for part in parts]) for i in range(4))
    order = np.argsort(packet, kind="stable")
    packet, payload_type, offset, length = packet[order], payload_type[order], offset[order], length[order]

    primary = length < 0
    redundant = np.bincount(packet, np.where(primary, 0, length), len(rows)).astype(np.int64)
    rest = size[rows] - headers - redundant
    good = (np.bincount(packet, primary, len(rows)) > 0) & (rest >= 0)
    length = np.where(primary, rest[packet], length)
    keep = good[packet]
    packet, payload_type, offset, length = packet[keep], payload_type[keep], offset[keep], length[keep]
    last = np.cumsum(np.bincount(packet, minlength=len(rows))) - 1
    ends = np.cumsum(length)
    # Where a packet's blocks begin in the running sum: everything before its own last block, less its own total.
    before = ends[last[packet]] - (redundant + np.maximum(rest, 0))[packet] if len(packet) else ends
    at = headers[packet] + ends - length - before
    return RedBlocks(
        row=rows[packet],
        payload_type=payload_type.astype(np.uint8),
        offset=offset,
        age=last[packet] - np.arange(len(packet)),
        start=begin[packet] + np.minimum(at, held[packet]),
        size=length.astype(np.int32),
        captured=np.clip(held[packet] - at, 0, length).astype(np.int32),
        malformed=rows[~good],
    )


def rows_of_role(trace: Trace, role: str) -> I64:
    """The rows of packets whose payload type has this role (see `Encoding.role`)."""
    numbers = [number for number, meaning in trace.formats.items() if meaning.role == role]
    return np.flatnonzero(np.isin(trace.payload_type, numbers)) if numbers else np.zeros(0, dtype=np.int64)


def block_types(trace: Trace) -> tuple[int, ...]:
    """The payload types inside a trace's RED packets, those of primary blocks first, each by frequency.

    Without the packets' bytes: those that RED's `a=fmtp` lists (`111/111`). Empty if the trace has no RED.
    """
    rows = rows_of_role(trace, "redundancy")
    if not len(rows):
        return ()
    found: list[int] = []
    if trace.payloads is not None:
        rows = rows[:: -(-len(rows) // _EXAMINED)]
        blocks = red_blocks(trace.payloads, trace.size, rows)
        for chosen in (blocks.age == 0, blocks.age > 0):
            counts = np.bincount(blocks.payload_type[chosen], minlength=128)
            found += [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number]]
    listed = [word for row in trace.formats.values() if row.role == "redundancy" for word in row.fmtp.split("/")]
    found += [int(word) for word in listed if word.strip().isdecimal() and len(word) < 9 and int(word) < 128]
    return tuple(dict.fromkeys(found))


def primary_encoding(trace: Trace, formats: Mapping[int, Encoding] | None = None) -> Encoding | None:
    """What the primary blocks of a trace's RED packets hold; None without RED, or if nothing says.

    `formats` gives the meanings of payload types where the trace's `formats` lack those inside RED.
    """
    meanings = {**STATIC, **trace.formats, **(formats or {})}
    known = (meanings[number] for number in block_types(trace) if number in meanings)
    return next((meaning for meaning in known if meaning.role == "speech"), None)


@dataclass(frozen=True)
class Level:
    """One level of protection: the exclusive-or of the next bytes of some packets, by their distance from the base."""

    members: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Repair:
    """One FEC packet: the exclusive-or of several RTP packets (RFC 5109 7.3, RFC 8627 4.2.2).

    `flags` holds P, X and CC of the RTP header, `second` the marker and payload type, `length` counts the bytes after
    the fixed header. `base` is a sequence number (16 bits); `levels[0].members` are the distances from it of all
    packets protected. `ssrc`: of the stream protected, where the packet says (FlexFEC's draft 03).
    """

    flags: int
    second: int
    length: int
    timestamp: int
    base: int
    levels: tuple[Level, ...]
    ssrc: int | None = None

    @property
    def members(self) -> tuple[int, ...]:
        """The packets protected, by their distance from `base`."""
        return self.levels[0].members

    def restored(self, sequence: int, ssrc: int, others: Mapping[int, bytes]) -> RtpPacket:
        """The missing packet, given the other protected ones whole, by their distance from `base`.

        `sequence` is its sequence number (16 bits). Raises `MalformedPacket` if what results is no RTP packet, or if
        the FEC packet protects only a part of it.
        """
        flags, second, length, timestamp = self.flags, self.second, self.length, self.timestamp
        for packet in others.values():
            head = _FIXED.unpack_from(packet)
            flags, second, timestamp = flags ^ head[0], second ^ head[1], timestamp ^ head[3]
            length ^= len(packet) - HEADER_BYTES
        body = b""
        missing = (sequence - self.base) & 0xFFFF
        for level in self.levels:
            if missing not in level.members:
                break
            size, at = len(level.data), HEADER_BYTES + len(body)
            mixed = int.from_bytes(level.data)
            for member in level.members:
                if member != missing:
                    mixed ^= int.from_bytes(others[member][at : at + size].ljust(size, b"\0"))
            body += mixed.to_bytes(size)
        if length > len(body):
            raise MalformedPacket(f"FEC protects {len(body)} of {length} bytes")
        return RtpPacket.parse(_FIXED.pack(0x80 | flags & 0x3F, second, sequence, timestamp, ssrc) + body[:length])


def parse_ulpfec(payload: bytes) -> Repair:
    """Parse the payload of a ULPFEC packet (RFC 5109 7.3, 7.4). Raises `MalformedPacket`."""
    if len(payload) < 14 or payload[0] & 0x80:
        raise MalformedPacket(f"{len(payload)} bytes are no ULPFEC header")
    long_mask = bool(payload[0] & 0x40)
    first, second, base, timestamp, length = struct.unpack_from(">BBHIH", payload)
    mask_bytes, at = 6 if long_mask else 2, 10
    levels: list[Level] = []
    while at < len(payload):
        mask = payload[at + 2 : at + 2 + mask_bytes]
        if len(mask) < mask_bytes:
            raise MalformedPacket("a ULPFEC level header is cut off")
        (size,) = struct.unpack_from(">H", payload, at)
        at += 2 + mask_bytes
        data = payload[at : at + size]
        if len(data) < size:
            raise MalformedPacket(f"{size} protected bytes do not fit in {len(data)}")
        levels.append(Level(_members(mask), data))
        at += size
    return _checked(Repair(first & 0x3F, second, length, timestamp, base, tuple(levels)))


def parse_flexfec(payload: bytes, *, draft: bool = False) -> Repair:
    """Parse the payload of a FlexFEC packet that protects one stream (RFC 8627 4.2.2). Raises `MalformedPacket`.

    `draft`: as in draft-ietf-payload-flexible-fec-scheme-03 (`flexfec-03`, WebRTC), where a set k bit ends the mask
    instead of continuing it and the SSRC is in the packet.
    """
    ssrc, at = None, 8
    if len(payload) < (20 if draft else 12):
        raise MalformedPacket(f"{len(payload)} bytes are too short for a FlexFEC header")
    first, second, length, timestamp = struct.unpack_from(">BBHI", payload)
    if first & 0x80:
        raise MalformedPacket("a retransmission in FlexFEC is not read")
    if draft:
        count, ssrc = payload[8], struct.unpack_from(">I", payload, 12)[0]
        at = 16
        if count != 1 or first & 0x40:
            raise MalformedPacket(f"a FlexFEC packet that protects {count} streams is not read")
    (base,) = struct.unpack_from(">H", payload, at)
    at += 2
    members: Sequence[int]
    if first & 0x40:
        columns, rows = payload[at : at + 2]
        at += 2
        members = range(columns) if rows <= 1 else range(0, columns * rows, columns or 1)
    else:
        bits = ""
        for size in (2, 4, 8):
            part = payload[at : at + size]
            if len(part) < size:
                raise MalformedPacket("a FlexFEC mask is cut off")
            text = "".join(f"{byte:08b}" for byte in part)
            at += size
            if size == 8 and not draft:  # RFC 8627: its last mask has no k bit
                bits += text
                break
            bits += text[1:]
            if (text[0] == "1") == draft:
                break
        members = [i for i, bit in enumerate(bits) if bit == "1"]
    return _checked(Repair(first & 0x3F, second, length, timestamp, base, (Level(tuple(members), payload[at:]),), ssrc))


def _members(mask: bytes) -> tuple[int, ...]:
    return tuple(8 * i + bit for i, byte in enumerate(mask) for bit in range(8) if byte & 0x80 >> bit)


def _checked(repair: Repair) -> Repair:
    if not repair.levels or not repair.members:
        raise MalformedPacket("a FEC packet that protects nothing")
    if any(not set(level.members) <= set(repair.members) for level in repair.levels):
        raise MalformedPacket("a level of FEC protects packets that the first level does not")
    return repair
