"""What payload types mean and at what rate their clock runs: by SDP in force, by RFC 3551, or by the timestamps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.rtp_stream import RtpStream, StreamOptions
from earwitness.trace.timing import summarise
from testing.trace.making import START_NS, Datagram, invite, pcap, rtp_stream

S = 1_000_000_000


def read(datagrams: list[Datagram], **options: Any) -> Capture:
    return parse_capture(pcap(datagrams), options=StreamOptions(**options))


def only(capture: Capture) -> RtpStream:
    (stream,) = capture.streams
    return stream


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000, 90000])
@pytest.mark.parametrize("packets", [6, 30, 400])
def test_the_clock_of_a_short_stream_is_measured_from_its_steps(rate: int, packets: int) -> None:
    stream = only(read(rtp_stream("." * packets, payload_type=96, clock_rate=rate)))
    assert stream.trace.clock_rate == rate
    (doubt,) = stream.doubts
    assert f"{rate} Hz measured" in doubt
    assert summarise(stream.trace).jitter_max_ms < 0.1
    # Only Opus has this clock among the codecs of telephones.
    assert (stream.codec, stream.codec_from) == (("opus", "guessed") if rate == 48000 else ("", "unknown"))


def test_the_clock_of_four_packets_in_one_burst_is_a_guess_and_said_so() -> None:
    stream = only(read(rtp_stream("....", payload_type=96, clock_rate=48000, delay_ms=lambda i: 80.0 - 20 * i)))
    assert stream.trace.clock_rate == 8000
    assert "guessed to be 8000 Hz" in stream.doubts[0]


def test_stalls_and_holds_do_not_mislead_the_measured_clock() -> None:
    stalled = rtp_stream(
        "." * 300,
        payload_type=96,
        clock_rate=16000,
        delay_ms=lambda i: max(0, 1500 - 20 * (i % 100 - 20)) * (i % 100 > 19),
    )
    assert only(read(stalled)).trace.clock_rate == 16000
    held = rtp_stream("." * 60, payload_type=96, clock_rate=16000, delay_ms=lambda i: 60_000 if i >= 30 else 0)
    assert only(read(held)).trace.clock_rate == 16000


@pytest.mark.parametrize("claimed", [8000, 16000])
def test_the_clock_of_g722_is_8000_whatever_the_sdp_says(claimed: int) -> None:
    described = invite(f"m=audio 4000 RTP/AVP 9\r\na=rtpmap:9 G722/{claimed}\r\n")
    stream = only(read([described, *rtp_stream("." * 50, payload_type=9)]))
    assert (stream.codec, stream.trace.clock_rate, stream.codec_from) == ("g722", 8000, "sdp")
    assert summarise(stream.trace).jitter_max_ms < 1e-6


def test_a_clock_that_the_timestamps_contradict_is_doubted() -> None:
    described = invite("m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 speex/16000\r\n")
    stream = only(read([described, *rtp_stream("." * 300, payload_type=97, clock_rate=8000)]))
    assert "advance at about 8000 Hz" in stream.doubts[0]
    assert only(read([described, *rtp_stream("." * 300, payload_type=97, clock_rate=16000)])).doubts == ()


def test_packets_of_changing_length_are_no_contradiction() -> None:
    steps = [10, 20, 40] * 120
    packets = []
    at = 0
    for number, ms in enumerate(steps):
        packet = RtpPacket(0, number, 8 * at, 7, bytes(8 * ms))
        packets.append(Datagram(START_NS + (at + ms) * 1_000_000, bytes(packet)))
        at += ms
    assert only(read(packets)).doubts == ()


def test_codecs_of_different_clocks_in_one_stream_share_one_timeline() -> None:
    described = invite("m=audio 4000 RTP/AVP 111 8\r\na=rtpmap:111 opus/48000/2\r\n")
    packets, timestamp = [], 1000
    for number in range(300):
        opus = number // 50 % 2 == 0
        packet = RtpPacket(111 if opus else 8, number, timestamp, 7, bytes(160))
        packets.append(Datagram(START_NS + number * 20_000_000, bytes(packet)))
        timestamp += 960 if (number + 1) // 50 % 2 == 0 else 160
    stream = only(read([described, *packets]))
    found = summarise(stream.trace)
    assert (found.jitter_max_ms, found.pdv_max_ms) == pytest.approx((0.0, 0.0), abs=0.2)
    assert any("another RTP clock" in note for note in stream.trace.notes)


def test_the_description_in_force_is_the_last_before_the_stream() -> None:
    first = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 speex/8000\r\n", START_NS - 20 * S)
    again = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n", START_NS - S)
    after = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 AMR-WB/16000\r\n", START_NS + 60 * S)
    media = rtp_stream("." * 50, payload_type=96, clock_rate=48000)
    stream = only(read([first, again, *media, after]))
    assert (stream.codec, stream.encoding.parameters) == ("opus", {"useinbandfec": "1"})
    assert only(read([first, *media])).codec == "speex"
    # Early media may come a little before the answer that describes it.
    assert only(read([*media, again])).codec == "opus"


def test_the_receivers_numbers_count_where_the_two_ends_differ() -> None:
    receiver = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n")
    body = (
        receiver.payload.replace(b"10.8.0.2", b"10.8.0.1")
        .replace(b" 4000 ", b" 20848 ")
        .replace(b"opus/48000/2", b"speex/16000")
    )
    sender = Datagram(receiver.time_ns + S // 2, body, ("10.8.0.1", 5060), ("10.8.0.2", 5060))
    assert only(read([receiver, sender, *rtp_stream("." * 50, payload_type=96, clock_rate=48000)])).codec == "opus"


def test_all_payload_types_of_a_stream_are_known() -> None:
    described = invite("m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n")
    speech = rtp_stream("." * 40, payload_type=0)
    event = rtp_stream(
        "...",
        payload_type=101,
        payload=b"\x05\x0a\x00\xa0",
        sequence=1040,
        timestamp=160 + 40 * 160,
        start_ns=START_NS + 40 * 20_000_000,
    )
    other = rtp_stream(
        "." * 30, payload_type=8, sequence=1043, timestamp=160 + 43 * 160, start_ns=START_NS + 43 * 20_000_000
    )
    stream = only(read([described, *speech, *event, *other]))
    assert {number: encoding.name for number, encoding in stream.trace.formats.items()} == {
        0: "PCMU",
        8: "PCMA",
        101: "telephone-event",
    }


@pytest.mark.parametrize(
    ("lines", "encrypted"),
    [
        ("m=audio 4000 RTP/SAVP 0\r\n", "SRTP"),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\n", "SRTP"),
        ("m=audio 4000 RTP/AVP 0\r\n", ""),
    ],
)
def test_a_description_says_that_it_is_encrypted(lines: str, encrypted: str) -> None:
    random = np.random.default_rng(4).bytes(160)
    found = only(read([invite(lines), *rtp_stream("." * 10, payload=random)])).encryption
    assert (found.kind, found.certain) == (encrypted, bool(encrypted))


def test_video_is_video_by_its_section_or_its_codec() -> None:
    by_codec = invite("m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n")
    assert only(read([by_codec, *rtp_stream("." * 10, payload_type=96, clock_rate=90000)])).media == "video"
    unknown = invite("m=video 4000 RTP/AVP 96\r\na=rtpmap:96 X-NEW/90000\r\n")
    assert only(read([unknown, *rtp_stream("." * 10, payload_type=96, clock_rate=90000)])).media == "video"
    assert only(read(rtp_stream("." * 10))).media == "audio"
