"""Captures that are broken in a thousand ways, seeded."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import replace
from typing import Any

from testing.trace.carrying import (
    CARRIERS,
    LINK_CARRIERS,
    Wrap,
    ethernet,
    fragments,
    segment,
    turn_channel,
    turn_indication,
)
from testing.trace.making import START_NS, Datagram, invite, pcap, pcapng, rtp_stream, together, udp_packet

PHONE_SIDE: dict[str, Any] = {"source": ("10.8.0.2", 4000), "destination": ("10.8.0.1", 20848)}
SIX: dict[str, Any] = {"source": ("fd00::1", 4002), "destination": ("fd00::2", 4000)}


def originals() -> list[bytes]:
    """Sound captures of every kind that is read, small enough to be broken often."""
    call = together(
        [invite("m=audio 4000 RTP/AVP 0\r\na=rtpmap:97 speex/8000\r\n")],
        rtp_stream("...x..d..___...l....", sequence=65_530),
        rtp_stream("." * 20, ssrc=2, payload_type=97, payload=bytes(28), **PHONE_SIDE),
    )
    six = rtp_stream("." * 15, **SIX)
    return [
        pcap(call, snap_length=85),
        pcap(call, link="qinq", order=">", nanoseconds=True),
        pcap(together(call, six), link="cooked2"),
        pcap(call, link="null"),
        pcapng([("ethernet", 6, call), ("raw", 9, six)]),
        pcapng([("cooked", 0x80 | 20, call)], order=">"),
        *carried(call),
        *streamed(call),
    ]


def carried(call: list[Datagram]) -> list[bytes]:
    """A call in carriers: each packet in another one, all fragmented, relayed by TURN, and on other link layers."""
    wraps = list(CARRIERS.values())
    in_each = [(d.time_ns, wraps[i % len(wraps)](udp_packet(d))) for i, d in enumerate([*call, *call[:20]])]
    twice = [(d.time_ns, wraps[i % 7](wraps[8 + i % 10](udp_packet(d))[14:])) for i, d in enumerate(call)]
    pieces = [
        (d.time_ns + i, piece)
        for number, d in enumerate(call)
        for i, piece in enumerate(fragments(_numbered(udp_packet(d), number), 64))
    ]
    relays: tuple[Wrap, ...] = (turn_channel, turn_indication)
    relayed = [replace(d, payload=relays[i % 2](d.payload)) for i, d in enumerate(call)]
    found = [pcap(in_each, link="ethernet"), pcap(twice, link="ethernet"), pcap(pieces), pcap(relayed)]
    for name in ("wifi radiotap", "ppp hdlc"):
        link_type, wrap = LINK_CARRIERS[name]
        data = pcap([(d.time_ns, wrap(udp_packet(d))) for d in call])
        found.append(data[:20] + struct.pack("<I", link_type) + data[24:])
    return found


def _numbered(packet: bytes, number: int) -> bytes:
    return packet[:4] + struct.pack(">H", number + 1) + packet[6:]


def streamed(call: list[Datagram]) -> list[bytes]:
    """A call whose SDP comes over TCP, cut and out of order, and calls framed in TCP and relayed by TURN in it."""
    messages = b"".join(d.payload for d in call[:1]) * 3
    signalling = [
        (
            START_NS - 10**9 + i,
            ethernet(segment(messages[at : at + 150], 1 + at, ("10.8.0.2", 5060), ("10.8.0.1", 5060))),
        )
        for i, at in enumerate((0, 300, 150, *range(450, len(messages), 150)))
    ]
    media = [(d.time_ns, ethernet(udp_packet(d))) for d in call[1:]]
    found = [pcap([*signalling, *media], link="ethernet")]
    framings: tuple[Wrap, ...] = (lambda p: struct.pack(">H", len(p)) + p, turn_channel, turn_indication)
    for frame in framings:
        packets: list[tuple[int, bytes]] = []
        at: Counter[tuple[str, int]] = Counter()
        for d in call[1:]:
            content = frame(d.payload)
            packets.append((d.time_ns, ethernet(segment(content, 1 + at[d.source], d.source, d.destination))))
            at[d.source] += len(content)
        found.append(pcap(packets, link="ethernet"))
    return found


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One broken copy: bits, words, lengths, cuts, repeats, splices; a few at once."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not changed:
            break
        at, kind = rng.randrange(len(changed)), rng.randrange(8)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 4] = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(changed), 65536)).to_bytes(
                4, rng.choice(("little", "big"))
            )
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + rng.choice((1, 2, 4, 16, 100))]
        elif kind == 4:
            changed[at:at] = changed[: rng.randrange(200)]
        elif kind == 5:
            changed[at:at] = rng.randbytes(rng.randrange(64))
        elif kind == 6:
            changed[at : at + rng.randrange(64)] = bytes(rng.randrange(64))
        else:
            # The places that matter: within the first packet's headers.
            changed[rng.randrange(min(len(changed), 120))] = rng.randrange(256)
    return bytes(changed)


def inflated(data: bytes, rng: random.Random, most: int = 1 << 20) -> bytes:
    """One copy that is too much: a part of it a thousand times, or zeros, and a few other faults."""
    at = rng.randrange(len(data))
    part = data[at : at + rng.choice((4, 16, 44, 100, 1000, len(data)))]
    if rng.random() < 0.2:
        part = bytes(16)
    times = rng.randrange(1, most // max(1, len(part)) + 2)
    return mutate(data[:at] + part * times + data[at:], rng)
