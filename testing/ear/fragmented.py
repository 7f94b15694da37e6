"""A call whose packets were sent in fragments, and packets of which only a part was captured."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.model import Trace
from testing.trace.carrying import fragments
from testing.trace.making import pcap, rtp_stream, udp_packet


def fragmented_call(kept: Callable[[int, int], bool], count: int) -> Capture:
    """A call of G.711 whose packets came in two fragments each; `kept(packet, fragment)` chooses those captured."""
    payloads = encode_packets(codec("g711u"), speech("allison-10s", 8000).samples)[:count]
    frames = []
    for i, (sent, payload) in enumerate(zip(rtp_stream("." * len(payloads)), payloads, strict=True)):
        whole = udp_packet(replace(sent, payload=sent.payload[:12] + payload))
        pieces = fragments(whole[:4] + struct.pack(">H", i + 1) + whole[6:], 104)
        frames += [(sent.time_ns + at, piece) for at, piece in enumerate(pieces) if kept(i, at)]
    return parse_capture(pcap(frames))


def captured_to(trace: Trace, rows: slice, kept: int) -> Trace:
    """The trace with `kept` bytes captured of each of these packets."""
    assert trace.payloads is not None
    captured = trace.payloads.captured.copy()
    captured[rows] = kept
    return replace(trace, payloads=replace(trace.payloads, captured=captured))
