"""Captures of our own making, written as patterns: what was sent and what became of it, one character a packet.

    .   arrives                         x   is lost
    d   arrives twice                   l   arrives late, after the two packets behind it
    _   the sender is silent for one packet's time: no packet, but the timestamp goes on and the next one is marked

Spaces are for the eye.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from earwitness.trace.model import Trace
from earwitness.trace.rtp import RtpPacket

START_NS = 1_700_000_000_123_456_000
SERVER, PHONE = ("10.8.0.1", 20848), ("10.8.0.2", 4000)


@dataclass(frozen=True)
class Datagram:
    """One UDP datagram as a capture sees it."""

    time_ns: int
    payload: bytes
    source: tuple[str, int] = SERVER
    destination: tuple[str, int] = PHONE


def rtp_stream(
    pattern: str,
    *,
    sequence: int = 1000,
    timestamp: int = 160,
    ssrc: int = 0x1234ABCD,
    payload_type: int = 0,
    clock_rate: int = 8000,
    payload: bytes = bytes(range(160)),
    start_ns: int = START_NS,
    delay_ms: Callable[[int], float] = lambda _: 0.0,
    source: tuple[str, int] = SERVER,
    destination: tuple[str, int] = PHONE,
) -> list[Datagram]:
    """The datagrams of one RTP stream, 20 ms a packet, in order of arrival; `delay_ms(i)` delays the i-th packet."""
    arrivals: list[tuple[int, Datagram]] = []
    slot, packet, marked = 0, 0, True
    for character in pattern.replace(" ", ""):
        if character == "_":
            slot, marked = slot + 1, True
            continue
        header = RtpPacket(
            payload_type=payload_type,
            sequence=(sequence + packet) & 0xFFFF,
            timestamp=(timestamp + slot * clock_rate // 50) & 0xFFFFFFFF,
            ssrc=ssrc,
            payload=payload,
            marker=marked,
        )
        when = start_ns + slot * 20_000_000 + round(delay_ms(packet) * 1e6)
        datagram = Datagram(when, bytes(header), source, destination)
        late = replace(datagram, time_ns=when + 45_000_000)
        again = replace(datagram, time_ns=when + 1_000_000)
        found = {".": [datagram], "x": [], "d": [datagram, again], "l": [late]}[character]
        arrivals += [(each.time_ns, each) for each in found]
        slot, packet, marked = slot + 1, packet + 1, False
    return [datagram for _, datagram in sorted(arrivals, key=lambda pair: pair[0])]


def together(*streams: Sequence[Datagram]) -> list[Datagram]:
    """Several streams in one capture, in order of time."""
    return sorted((datagram for stream in streams for datagram in stream), key=lambda d: d.time_ns)


def udp_packet(datagram: Datagram, *, options: bytes = b"", extension: bytes = b"", fragment: int = 0) -> bytes:
    """The IP packet of a datagram. `options` are IPv4 options; `extension` is an IPv6 destination-options header."""
    (source, source_port), (destination, destination_port) = datagram.source, datagram.destination
    udp = struct.pack(">HHHH", source_port, destination_port, 8 + len(datagram.payload), 0) + datagram.payload
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    if ":" in source:
        following = 60 if extension else 17
        return struct.pack(">IHBB", 6 << 28, len(extension) + len(udp), following, 64) + ends + extension + udp
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 4 * words + len(udp), 1, fragment, 64, 17, 0)
    return head + ends + options + udp


LINKS: dict[str, tuple[int, Callable[[bytes, int], bytes]]] = {
    "raw": (101, lambda packet, _: packet),
    "raw12": (12, lambda packet, _: packet),
    "ipv4": (228, lambda packet, _: packet),
    "ipv6": (229, lambda packet, _: packet),
    "ethernet": (1, lambda packet, kind: bytes(12) + struct.pack(">H", kind) + packet),
    "vlan": (1, lambda packet, kind: bytes(12) + struct.pack(">HHH", 0x8100, 7, kind) + packet),
    "qinq": (1, lambda packet, kind: bytes(12) + struct.pack(">HHHHH", 0x88A8, 3, 0x8100, 7, kind) + packet),
    "cooked": (113, lambda packet, kind: bytes(14) + struct.pack(">H", kind) + packet),
    "cooked2": (276, lambda packet, kind: struct.pack(">H", kind) + bytes(18) + packet),
    "cooked sent": (113, lambda packet, kind: b"\0\4" + bytes(12) + struct.pack(">H", kind) + packet),
    "cooked2 sent": (276, lambda packet, kind: struct.pack(">H", kind) + bytes(8) + b"\4" + bytes(9) + packet),
    "null": (0, lambda packet, kind: struct.pack("<I", 2 if kind == 0x0800 else 30) + packet),
    "loop": (108, lambda packet, kind: struct.pack(">I", 2 if kind == 0x0800 else 24) + packet),
}


def frames(datagrams: Sequence[Datagram], link: str = "raw") -> list[tuple[int, bytes]]:
    """Each datagram as (time, link-layer frame)."""
    wrap = LINKS[link][1]
    return [(d.time_ns, wrap(udp_packet(d), 0x86DD if ":" in d.source[0] else 0x0800)) for d in datagrams]


def pcap(
    packets: Sequence[Datagram] | Sequence[tuple[int, bytes]],
    *,
    link: str = "raw",
    order: str = "<",
    nanoseconds: bool = False,
    snap_length: int = 262_144,
) -> bytes:
    """A pcap file of datagrams, or of (time, frame) pairs."""
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap_length, LINKS[link][0])]
    for time_ns, frame in _as_frames(packets, link):
        kept = frame[:snap_length]
        seconds, rest = divmod(time_ns, 1_000_000_000)
        parts.append(struct.pack(order + "IIII", seconds, rest // unit, len(kept), len(frame)) + kept)
    return b"".join(parts)


def _as_frames(packets: Sequence[Datagram] | Sequence[tuple[int, bytes]], link: str) -> list[tuple[int, bytes]]:
    return [pair for p in packets for pair in (frames([p], link) if isinstance(p, Datagram) else [p])]


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """One pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def pcapng(
    interfaces: Sequence[tuple[str, int, Sequence[Datagram]]], *, order: str = "<", snap_length: int = 262_144
) -> bytes:
    """A pcapng file; an interface is a link layer, its time resolution (if_tsresol's byte), and its datagrams."""
    parts = [block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)]
    packets: list[tuple[int, int, bytes]] = []
    for number, (link, resolution, datagrams) in enumerate(interfaces):
        option = struct.pack(order + "HHBxxxHH", 9, 1, resolution, 0, 0)
        parts.append(block(1, struct.pack(order + "HHI", LINKS[link][0], 0, snap_length) + option, order))
        packets += [(time_ns, number, frame) for time_ns, frame in frames(datagrams, link)]
    for time_ns, number, frame in sorted(packets):
        resolution = interfaces[number][1]
        rate = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        ticks = time_ns * rate // 1_000_000_000
        kept = frame[:snap_length]
        head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(kept), len(frame))
        parts.append(block(6, head + kept, order))
    return b"".join(parts)


def invite(datagram_media: str, time_ns: int = START_NS - 10**9) -> Datagram:
    """A SIP INVITE from the phone, with this SDP after its session lines."""
    body = "v=0\r\no=- 1 1 IN IP4 10.8.0.2\r\ns=-\r\nc=IN IP4 10.8.0.2\r\nt=0 0\r\n" + datagram_media
    head = (
        "INVITE sip:100@10.8.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.8.0.2:5060;branch=z9hG4bK1\r\n"
        "From: <sip:7@10.8.0.2>;tag=1\r\nTo: <sip:100@10.8.0.1>\r\nCall-ID: abc\r\nCSeq: 1 INVITE\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Datagram(time_ns, (head + body).encode(), ("10.8.0.2", 5060), ("10.8.0.1", 5060))


def described(
    media: str,
    host: str = "10.8.0.2",
    *,
    to: str = "10.8.0.1",
    call: str = "abc",
    first: str = "INVITE sip:7@10.8.0.1 SIP/2.0",
    time_ns: int = START_NS - 10**9,
) -> Datagram:
    """A SIP message from a host with its session description, in a call (Call-ID) of one's choice."""
    body = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n{media}"
    head = f"{first}\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n"
    return Datagram(time_ns, (head + body).encode(), (host, 5060), (to, 5060))


def trace(sent_ns: np.ndarray, arrived_ns: np.ndarray, *, sent_clock: str = "one", arrived_clock: str = "one") -> Trace:
    """A trace of packets 20 ms apart from their times (n,) int64, rows in order of arrival."""
    n = len(sent_ns)
    order = np.argsort(arrived_ns, kind="stable")
    number = np.arange(n, dtype=np.int64)[order]
    return Trace(
        sequence=number,
        timestamp=number * 160,
        payload_type=np.zeros(n, dtype=np.uint8),
        marker=np.zeros(n, dtype=bool),
        size=np.full(n, 160, dtype=np.int32),
        sent_ns=sent_ns[order],
        arrived_ns=arrived_ns[order],
        clock_rate=8000,
        sent_clock=sent_clock,
        arrived_clock=arrived_clock,
    )
