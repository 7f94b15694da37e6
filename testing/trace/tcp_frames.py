"""RTP in the framings of TCP, as a stream of bytes in segments of one size that do not care where frames begin."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from earwitness.path.framing import frame
from testing.trace.carrying import turn_channel, turn_indication
from testing.trace.making import START_NS

RTP_FRAMES: dict[str, Callable[[bytes], bytes]] = {
    "rfc 4571": frame,
    "channel data": turn_channel,
    "send indication": lambda packet: turn_indication(packet, 0x0016),
    "data indication": turn_indication,
    "rtsp": lambda packet: b"$\x00" + struct.pack(">H", len(packet)) + packet,
}


@dataclass(frozen=True)
class Captured:
    """A segment's bytes, sequence number and time."""

    data: bytes
    sequence: int
    time_ns: int


@lru_cache
def framed_packets(count: int, ssrc: int = 0xD1, size: int = 160) -> list[bytes]:
    """RTP packets of G.711 with noise in them; their numbering wraps."""
    rng = random.Random(ssrc)
    return [
        struct.pack(">BBHII", 0x80, 0, (65_300 + i) % 65_536, 160 * i, ssrc) + rng.randbytes(size) for i in range(count)
    ]


def in_segments(stream: bytes, size: int, first: int = 0xFFFF_FF00) -> list[Captured]:
    """A stream in segments of this size, one every 20 ms for each 174 bytes of it; its numbering wraps."""
    return [
        Captured(stream[at : at + size], (first + at) % 2**32, START_NS + at // 174 * 20_000_000)
        for at in range(0, len(stream), size)
    ]
