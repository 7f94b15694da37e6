"""Streams of events and of repair data have no jitter, whatever their SSRC carries besides."""

from __future__ import annotations

import math
import struct

import pytest

from earwitness.replay.estimating import estimate_streams
from earwitness.trace.capture import parse_capture
from earwitness.trace.report import time_streams
from earwitness.trace.rtp import RtpPacket
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream, together

SDP = "m=audio 4000 RTP/AVP 0 101 118\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:118 flexfec/8000\r\n"
EVENTS = [struct.pack(">BBH", 5, 10, (i + 1) * 160) for i in range(50)]
REPAIR = [bytes(30)] * 50


def alone(payload_type: int, payloads: list[bytes]) -> list[Datagram]:
    """Packets with a timestamp that stands still, on an SSRC of their own."""
    sent = [RtpPacket(payload_type, i, 8000, 5, payload, False) for i, payload in enumerate(payloads)]
    return [Datagram(START_NS + i * 20_000_000, bytes(one), SERVER, PHONE) for i, one in enumerate(sent)]


@pytest.mark.parametrize(("payload_type", "payloads"), [(101, EVENTS), (118, REPAIR)])
@pytest.mark.parametrize("beside_speech", [True, False])
def test_what_is_not_speech_has_no_jitter_and_that_is_said(
    payload_type: int, payloads: list[bytes], beside_speech: bool
) -> None:
    speech = rtp_stream("." * 100) if beside_speech else []
    capture = parse_capture(pcap(together([invite(SDP)], speech, alone(payload_type, payloads))))
    timed = next(one for one in time_streams(capture, capture.streams) if one.stream.ssrc == 5)
    found = timed.timing
    figures = (found.jitter_mean_ms, found.jitter_max_ms, found.jitter_std_dev_ms, found.pdv_max_ms, found.gap_max_ms)
    assert all(math.isnan(figure) for figure in figures)
    assert (found.packets_received, found.packets_lost, found.jitter_final_units) == (50, 0, 0)
    assert any("carries speech" in note for note in timed.notes)
    (estimate,) = estimate_streams(capture, [timed.stream], "fixed:60")
    assert (estimate.quality, bool(estimate.reason)) == (None, True)


def test_speech_of_one_payload_type_with_a_meaning_counts() -> None:
    capture = parse_capture(pcap([invite(SDP), *rtp_stream("." * 100)]))
    timed = time_streams(capture, capture.streams)[0]
    assert (timed.timing.jitter_max_ms, timed.timing.pdv_max_ms, timed.notes) == (0.0, 0.0, ())
