"""Captures that are broken in a thousand ways, seeded."""

from __future__ import annotations

import random
from typing import Any

from testing.trace.making import invite, pcap, pcapng, rtp_stream, together

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
    ]


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
