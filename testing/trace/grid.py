"""Captures over the product of carrier, codec, packet time and event, with what is right by construction.

Every case is one stream on a flow of its own with SDP before it, so that tshark reads many in one capture.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from earwitness.trace.rtp import RtpPacket
from testing.trace.carrying import CARRIERS
from testing.trace.making import START_NS, Datagram, udp_packet

MS = 1_000_000


@dataclass(frozen=True)
class GridCodec:
    """A codec as a capture shows it: `bytes_per_ms` of payload; `rtpmap` empty for a static type."""

    name: str
    payload_type: int
    clock_rate: int
    bytes_per_ms: float
    packet_times_ms: tuple[float, ...]
    rtpmap: str = ""

    @property
    def described(self) -> str:
        told = ((self.payload_type, self.rtpmap), self.other)
        return "".join(f"a=rtpmap:{number} {rtpmap}\r\n" for number, rtpmap in told if rtpmap)

    @property
    def other(self) -> tuple[int, str]:
        """Another payload type of the same clock, with its rtpmap, to which a sender may switch."""
        if self.clock_rate == 8000:
            return (0 if self.payload_type == 8 else 8, "")
        if self.clock_rate == 16000:
            return (98, "speex/16000") if self.payload_type != 98 else (104, "AMR-WB/16000")
        return (112, "opus/48000/2")


CODECS = (
    GridCodec("g711u", 0, 8000, 8.0, (5, 10, 20, 30, 60)),
    GridCodec("g711a", 8, 8000, 8.0, (15, 20, 40)),
    GridCodec("gsm", 3, 8000, 33 / 20, (20, 40, 60)),
    GridCodec("g722", 9, 8000, 8.0, (10, 20, 40)),
    GridCodec("g729", 18, 8000, 1.0, (10, 20, 60)),
    GridCodec("speex", 97, 8000, 28 / 20, (20, 40), "speex/8000"),
    GridCodec("speex", 98, 16000, 42 / 20, (20, 60), "speex/16000"),
    GridCodec("amr-wb", 104, 16000, 3.05, (20, 100), "AMR-WB/16000"),
    GridCodec("opus", 111, 48000, 3.0, (2.5, 10, 20, 40, 60, 120), "opus/48000/2"),
)
EVENTS = ("plain", "restart", "jump", "hold", "dtmf", "switch", "duplicate", "loss", "wrap", "pause", "ptime")
CARRIED = (
    "vlan",
    "qinq",
    "vn-tag",
    "mpls",
    "pppoe",
    "ip in ip",
    "gre",
    "gre ethernet",
    "erspan 2",
    "erspan 3",
    "vxlan",
    "geneve",
    "gtp",
    "l2tp",
)
PACKETS = 60
PORT = 30_000
"""To which every stream is sent."""
_AT = 30
"""The packet at which the event happens."""
_HOLD_MS = 30_000
_DTMF_TYPE = 101


@dataclass(frozen=True)
class Case:
    """One stream, with what it was made of."""

    number: int
    codec: GridCodec
    packet_ms: float
    event: str
    datagrams: tuple[Datagram, ...] = field(repr=False)
    delays_ms: tuple[float, ...]
    """Network delay of each speech packet that arrived, in order of sending."""
    joined: tuple[bool, ...]
    """Whether the delay of each such packet may be compared with the one before it."""
    lost: int = 0
    duplicates: int = 0
    carrier: str = ""

    @property
    def name(self) -> str:
        return f"{self.codec.name}-{self.packet_ms:g}ms-{self.event}-{self.carrier}"

    def frames(self) -> list[tuple[int, bytes]]:
        """Its packets and the description before them, (time, Ethernet frame) in the carrier."""
        wrap = CARRIERS[self.carrier]
        return [(each.time_ns, wrap(udp_packet(each))) for each in (described(self), *self.datagrams)]

    @property
    def source(self) -> tuple[str, int]:
        return (f"10.1.{self.number // 250}.{1 + self.number % 250}", 20_000)

    @property
    def destination(self) -> tuple[str, int]:
        return (f"10.2.{self.number // 250}.{1 + self.number % 250}", PORT)

    @property
    def ssrc(self) -> int:
        return 0x1000_0000 + self.number

    def jitter_ms(self) -> list[float]:
        """RFC 3550 6.4.1 after each speech packet that arrived, from the network's own delays."""
        series, jitter, before = [], 0.0, None
        for delay, joined in zip(self.delays_ms, self.joined, strict=True):
            if before is not None:
                jitter += ((abs(delay - before) if joined else 0.0) - jitter) / 16
            series.append(jitter)
            before = delay
        return series

    def variation_ms(self) -> float:
        """The largest delay less the least of its part of the numbering."""
        most, part = 0.0, [self.delays_ms[0]]
        for delay, joined in zip(self.delays_ms[1:], self.joined[1:], strict=True):
            part = [*part, delay] if joined else [delay]
            most = max(most, max(part) - min(part))
        return most


def cases() -> list[Case]:
    """One case for each codec, packet time and event, shuffled; each event's in all carriers in turn."""
    combined = [
        (codec, packet_ms, event) for codec, event in product(CODECS, EVENTS) for packet_ms in codec.packet_times_ms
    ]
    random.Random(11).shuffle(combined)
    seen: Counter[str] = Counter()
    found = []
    for number, (codec, packet_ms, event) in enumerate(combined):
        carrier = CARRIED[seen[event] % len(CARRIED)]
        seen[event] += 1
        found.append(replace(made(number, codec, packet_ms, event), carrier=carrier))
    return found


def made(number: int, codec: GridCodec, packet_ms: float, event: str) -> Case:
    """The stream of one case."""
    case = Case(number, codec, packet_ms, event, (), (), ())
    chance = random.Random(number)
    sent = list(_sent(codec, packet_ms, event))
    delays, joined, datagrams = [], [], []
    lost = duplicates = 0
    payload = chance.randbytes(max(1, round(codec.bytes_per_ms * packet_ms)))
    for index, one in enumerate(sent):
        delay = round(chance.uniform(20, 20 + 0.4 * packet_ms), 3)
        if event == "loss" and index in (10, 11, 40):
            lost += 1
            continue
        data = bytes(
            RtpPacket(
                payload_type=one.payload_type,
                sequence=one.sequence & 0xFFFF,
                timestamp=one.timestamp & 0xFFFF_FFFF,
                ssrc=case.ssrc,
                payload=one.payload or payload * one.times,
                marker=one.marker,
            )
        )
        when = START_NS + round(one.time_ms * MS) + round(delay * MS)
        datagrams.append(Datagram(when, data, case.source, case.destination))
        if event == "duplicate" and index % 3 == 0:
            duplicates += 1
            datagrams.append(Datagram(when + 40_000, data, case.source, case.destination))
        if one.payload is None:
            delays.append(delay)
            joined.append(one.joined)
    datagrams.sort(key=lambda each: each.time_ns)
    return Case(number, codec, packet_ms, event, tuple(datagrams), tuple(delays), tuple(joined), lost, duplicates)


@dataclass(frozen=True)
class _Sent:
    time_ms: float
    sequence: int
    timestamp: int
    payload_type: int
    marker: bool = False
    joined: bool = True
    payload: bytes | None = None
    times: int = 1
    """How often the payload of a packet time is in it."""


def _sent(codec: GridCodec, packet_ms: float, event: str) -> Iterator[_Sent]:
    """What the sender sends: an event happens at packet `_AT`."""
    ticks = round(codec.clock_rate * packet_ms / 1000)
    sequence, timestamp, time_ms = 1000, 50_000, 0.0
    if event == "wrap":
        sequence, timestamp = 65_536 - _AT, 2**32 - _AT * ticks - ticks // 2
    payload_type, times = codec.payload_type, 1
    for index in range(PACKETS):
        marker, joined = index == 0, True
        if index == _AT:
            if event == "restart":
                sequence, timestamp, joined = 40_000, 3_000_000_000, False
            elif event == "jump":
                timestamp, joined = timestamp + 2_000_000_000, False
            elif event == "hold":
                time_ms, joined, marker = time_ms + _HOLD_MS, False, True
            elif event == "pause":
                timestamp, time_ms, marker = timestamp + 20 * ticks, time_ms + 20 * packet_ms, True
            elif event == "switch":
                payload_type, _ = codec.other
            elif event == "ptime":
                times = 2
            elif event == "dtmf":
                for count in range(10):
                    event_payload = struct.pack(">BBH", 5, 10, min(65_535, (count + 1) * ticks))
                    yield _Sent(time_ms, sequence, timestamp, _DTMF_TYPE, marker=count == 0, payload=event_payload)
                    sequence, time_ms = sequence + 1, time_ms + packet_ms
                timestamp += 10 * ticks
        yield _Sent(time_ms, sequence, timestamp, payload_type, marker, joined, times=times)
        sequence, timestamp, time_ms = sequence + 1, timestamp + times * ticks, time_ms + times * packet_ms


def described(case: Case) -> Datagram:
    """The INVITE of the receiver before the stream, which names its payload types."""
    (address, port), codec = case.destination, case.codec
    types = dict.fromkeys((codec.payload_type, codec.other[0], _DTMF_TYPE))
    body = (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {' '.join(map(str, types))}\r\n{codec.described}"
        f"a=rtpmap:{_DTMF_TYPE} telephone-event/{codec.clock_rate}\r\na=sendrecv\r\n"
    )
    source = case.source[0]
    head = (
        f"INVITE sip:a@{source} SIP/2.0\r\nVia: SIP/2.0/UDP {address}:5060;branch=z9hG4bK{case.number}\r\n"
        f"From: <sip:b@{address}>;tag=1\r\nTo: <sip:a@{source}>\r\nCall-ID: {case.number}\r\nCSeq: 1 INVITE\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Datagram(START_NS - 1_000_000_000, (head + body).encode(), (address, 5060), (source, 5060))
