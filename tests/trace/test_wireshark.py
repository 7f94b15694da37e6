"""Wireshark's figures, against tshark itself on captures of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earwitness.trace.capture import parse_capture
from earwitness.trace.rtp_stream import StreamOptions
from earwitness.trace.wireshark import wireshark_figures
from testing.trace import tshark
from testing.trace.making import pcap, rtp_stream

needs_tshark = pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
PATTERNS = {
    "plain": "." * 200,
    "loss": "....x..xx......x" * 12,
    "duplicates hide losses": "..d..x..d..." * 10,
    "reordering": "...l....l......" * 10,
    "pauses and marks": ("." * 20 + "_" * 10) * 8,
    "everything": "..x.d..__...l..xx..._." * 9,
}


@needs_tshark
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(("payload_type", "clock_rate"), [(0, 8000), (120, 48000)])
def test_to_the_printed_digit(tmp_path: Path, name: str, payload_type: int, clock_rate: int) -> None:
    delays = np.cumsum(np.random.default_rng(7).normal(0, 1.1, 400)) + 300
    made = rtp_stream(
        PATTERNS[name], sequence=65_400, payload_type=payload_type, clock_rate=clock_rate, delay_ms=lambda i: delays[i]
    )
    data = pcap(made)
    capture = parse_capture(data, options=StreamOptions(ports={4000}))
    (stream,) = capture.streams
    path = tmp_path / "made.pcap"
    path.write_bytes(tshark.with_sdp(capture, data))
    theirs = tshark.streams(path)[stream.flow.source, stream.ssrc]
    assert tshark.printed(wireshark_figures(stream.trace, capture.started_ns)) == theirs


def test_without_a_packet_that_counts_minima_are_minus_one() -> None:
    (stream,) = parse_capture(pcap(rtp_stream(".")), options=StreamOptions(ports={4000})).streams
    found = wireshark_figures(stream.trace)
    assert (found.packets, found.min_delta_ms, found.min_jitter_ms, found.mean_jitter_ms) == (1, -1.0, -1.0, 0.0)
    assert wireshark_figures(stream.trace.take(np.zeros(0, dtype=np.int64))).packets == 0
