"""RTP found among datagrams: by itself, by SDP, and as told."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earwitness.ear.listen import choose_stream
from earwitness.errors import InputError
from earwitness.trace.capture import Capture, parse_capture, read_capture
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import UNKNOWN
from earwitness.trace.payload_types import main_payload_type
from earwitness.trace.problem import ProblemKind
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.rtp_stream import StreamOptions
from earwitness.trace.sdp import parse_sdp
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream, together
from testing.trace.redundancy import red_stream

BACK: dict[str, Any] = {"source": PHONE, "destination": SERVER}


def read(datagrams: list[Datagram], **options: Any) -> Capture:
    return parse_capture(pcap(datagrams), options=StreamOptions(**options))


def test_two_directions_are_two_streams_the_longer_first() -> None:
    capture = read(together(rtp_stream("." * 10, ssrc=1), rtp_stream("." * 15, ssrc=2, **BACK)))
    assert [(s.ssrc, len(s.trace), s.flow.source) for s in capture.streams] == [
        (2, 15, "10.8.0.2"),
        (1, 10, "10.8.0.1"),
    ]
    assert capture.sent_by("10.8.0.1") == capture.received_by("10.8.0.2") == (capture.streams[1],)
    assert not capture.problems


def test_a_stream_holds_what_was_sent() -> None:
    (stream,) = read(rtp_stream("..x._..", payload=b"hello", sequence=65534, timestamp=2**32 - 320)).streams
    trace = stream.trace
    assert trace.sequence.tolist() == [65534, 65535, 65537, 65538, 65539]
    assert (trace.timestamp - trace.timestamp[0]).tolist() == [0, 160, 480, 800, 960]
    assert trace.marker.tolist() == [True, False, False, True, False]
    assert trace.arrived_ns.tolist() == [START_NS + 20_000_000 * slot for slot in (0, 1, 3, 5, 6)]
    assert (trace.sent_ns == UNKNOWN).all()
    assert trace.payloads is not None
    assert [trace.payloads[i] for i in range(5)] == [b"hello"] * 5
    assert (stream.codec, stream.codec_from, trace.clock_rate) == ("g711u", "static", 8000)


def test_dns_stun_rtcp_sip_and_noise_are_not_rtp() -> None:
    rng = random.Random(1)
    noise = [Datagram(START_NS + i * 10**6, rng.randbytes(rng.randrange(0, 200))) for i in range(3000)]
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, 1, 2, 3, 4, 5, 6)
    rtcp = [Datagram(START_NS + i * 10**9, report, ("10.8.0.1", 4001), ("10.8.0.2", 4001)) for i in range(30)]
    same = [Datagram(START_NS + i * 10**9, b"\x80" + bytes(30), ("10.8.0.1", 9), ("10.8.0.2", 9)) for i in range(30)]
    assert read([*noise, *rtcp, *same]).streams == ()
    assert read([*noise, *rtcp, *same]).problems[-1].kind == ProblemKind.NO_RTP


def test_sdp_names_codec_and_clock_of_a_dynamic_payload_type() -> None:
    sdp = (
        "m=audio 4000 RTP/AVP 96 0 101\r\na=rtpmap:96 iLBC/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
    )
    capture = read([invite(sdp), *rtp_stream("." * 60, payload_type=96, clock_rate=8000)])
    (stream,) = capture.streams
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("ilbc", "sdp", 8000)
    assert capture.sdp[0].payload_types == (96, 0, 101)
    assert capture.sdp[0].ptime_ms == 20
    assert (capture.sip[0].method, capture.sip[0].call_id) == ("INVITE", "abc")


def test_sdp_overrules_what_we_would_guess() -> None:
    sdp = "m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n"
    (stream,) = read([invite(sdp), *rtp_stream("." * 9, payload_type=97, clock_rate=48000)]).streams
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("opus", "sdp", 48000)


def test_where_sdp_says_rtp_goes_one_packet_is_enough() -> None:
    sdp = "m=audio 4000 RTP/AVP 0\r\n"
    assert len(read([invite(sdp), *rtp_stream(".")]).streams) == 1
    assert len(read(rtp_stream(".")).streams) == 0
    assert len(read(rtp_stream("."), ports={4000}).streams) == 1


@pytest.mark.parametrize(("payload_type", "clock_rate", "codec"), [(97, 8000, "speex"), (120, 48000, "opus")])
def test_the_studys_dynamic_types_are_guessed_and_said_to_be(payload_type: int, clock_rate: int, codec: str) -> None:
    (stream,) = read(rtp_stream("." * 80, payload_type=payload_type, clock_rate=clock_rate)).streams
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == (codec, "guessed", clock_rate)
    assert any("guessed" in note for note in stream.trace.notes)


def test_a_guess_that_the_timestamps_contradict_is_dropped() -> None:
    (stream,) = read(rtp_stream("." * 80, payload_type=120, clock_rate=8000)).streams
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("", "unknown", 8000)


@pytest.mark.parametrize("clock_rate", [8000, 16000, 48000])
def test_the_clock_of_an_unknown_type_is_read_off_its_timestamps(clock_rate: int) -> None:
    (stream,) = read(rtp_stream("." * 80, payload_type=111, clock_rate=clock_rate)).streams
    assert stream.trace.clock_rate == clock_rate
    assert any("from its timestamps" in note for note in stream.trace.notes)


@pytest.mark.parametrize(("types", "main"), [([13] * 9 + [8], 8), ([13, 19, 19], 19), ([0, 0, 101], 0), ([], 0)])
def test_comfort_noise_is_the_speech_of_no_stream_that_has_any(types: list[int], main: int) -> None:
    assert main_payload_type(np.array(types, dtype=np.uint8)) == main


def test_options_choose_ports_ssrc_types_and_clock() -> None:
    both = together(
        rtp_stream("." * 9, ssrc=1),
        rtp_stream("." * 9, ssrc=2, source=("10.8.0.1", 6000), destination=("10.8.0.2", 6002)),
    )
    assert [s.ssrc for s in read(both, ports={6002}).streams] == [2]
    assert [s.ssrc for s in read(both, ssrc=1).streams] == [1]
    (one, _) = read(both, payload_types={0: Encoding("G722", 8000)}).streams
    assert (one.codec, one.codec_from) == ("g722", "option")
    assert {s.trace.clock_rate for s in read(both, clock_rate=16000).streams} == {16000}


def test_a_stray_second_ssrc_is_a_stream_of_its_own_and_said() -> None:
    stray = rtp_stream("..", ssrc=0xBAD, start_ns=START_NS + 70_000_000)
    capture = read(together(rtp_stream("." * 40), stray))
    assert [(s.ssrc, len(s.trace)) for s in capture.streams] == [(0x1234ABCD, 40), (0xBAD, 2)]
    (problem,) = capture.problems
    assert problem.kind == ProblemKind.STRAY_SSRC
    assert "1 more SSRCs with 2 packets" in problem.detail


def test_a_flood_of_ssrcs_is_bounded_and_counted() -> None:
    flood = [rtp_stream(".", ssrc=n, start_ns=START_NS + n * 1000)[0] for n in range(2000)]
    capture = read(together(rtp_stream("." * 40, ssrc=99_999), flood))
    assert len(capture.streams) == 256
    assert {p.kind for p in capture.problems} == {ProblemKind.STRAY_SSRC, ProblemKind.UNSUPPORTED}


def test_packets_out_of_order_of_time_are_sorted_and_it_is_said() -> None:
    stream = rtp_stream("....")
    (found,) = read([stream[0], stream[2], stream[1], stream[3]]).streams
    assert found.trace.sequence.tolist() == [1000, 1001, 1002, 1003]
    assert "sorted" in found.trace.notes[0]


def test_sdp_of_any_shape_never_raises() -> None:
    assert (
        parse_sdp("m=audio\r\nm=\r\nm=audio x RTP/AVP 0\r\nm=image 5 RTP/AVP 3\r\na=rtpmap:\r\nc=\r\nm=audio 70000 A 1")
        == []
    )
    (media,) = parse_sdp("c=IN IP4 192.0.2.1/127\nm=audio 5004/2 RTP/AVP 0 x 300\na=rtpmap:96 opus\na=rtpmap:96 /8\n")
    assert (media.address, media.port, media.payload_types, media.encodings) == (
        "192.0.2.1",
        5004,
        (0,),
        {96: Encoding("", 8)},
    )


def test_each_file_has_a_clock_of_its_own_unless_named(tmp_path: object) -> None:
    for name in ("a", "b"):
        with open(f"{tmp_path}/{name}.pcap", "wb") as handle:  # noqa: PTH123
            handle.write(pcap(rtp_stream("...")))
    clocks = {read_capture(f"{tmp_path}/{name}.pcap").streams[0].trace.arrived_clock for name in ("a", "b")}
    assert len(clocks) == 2
    assert read_capture(f"{tmp_path}/a.pcap", clock="lab").streams[0].trace.arrived_clock == "lab"


def test_the_codec_of_a_stream_in_red_is_that_inside_it_whose_number_no_header_has() -> None:
    described = invite(
        "m=audio 4000 RTP/AVP 63 111\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:111 opus/48000/2\r\n"
    )
    packets = red_stream([bytes([0x78, i]) for i in range(20)], inner=111, step=960)
    sent = [Datagram(START_NS + i * 20_000_000, bytes(packet)) for i, packet in enumerate(packets)]
    (stream,) = parse_capture(pcap([described, *sent])).streams
    assert (stream.codec, stream.trace.clock_rate) == ("opus", 48000)
    assert {number: one.name for number, one in stream.trace.formats.items()} == {63: "red", 111: "opus"}


# -- by the form of the packets -----------------------------------------------------------------------------------


def in_red(*, inner: int, step: int, depth: int = 1, lost: int = 0) -> list[Datagram]:
    """A stream in RED, without SDP; every `lost`-th packet is missing."""
    rng = random.Random(inner)
    packets = red_stream([rng.randbytes(40) for _ in range(100)], inner=inner, step=step, depth=depth)
    sent = [Datagram(START_NS + i * 20_000_000, bytes(packet)) for i, packet in enumerate(packets)]
    return [datagram for i, datagram in enumerate(sent) if not lost or i % lost]


@pytest.mark.parametrize("lost", [0, 4])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("inner", "step", "codec"), [(111, 960, "opus"), (0, 160, "g711u"), (96, 160, "red")])
def test_red_that_no_sdp_names_is_guessed_from_its_form(
    inner: int, step: int, codec: str, depth: int, lost: int
) -> None:
    (stream,) = read(in_red(inner=inner, step=step, depth=depth, lost=lost)).streams
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == (codec, "guessed", 50 * step)
    assert stream.trace.formats[63].role == "redundancy"
    assert f"packets have the form of RED (RFC 2198) of type {inner}" in stream.doubts[0]
    assert set(stream.doubts) <= set(stream.trace.notes)
    assert not any("63 guessed to be opus" in note or "63 unknown" in note for note in stream.trace.notes)


def test_red_beside_the_codec_in_it_is_recognised() -> None:
    described = invite("m=audio 4000 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n")
    bare = rtp_stream("." * 50, payload_type=111, clock_rate=48000, ssrc=0xABCD, sequence=900, timestamp=0)
    late = [replace(one, time_ns=one.time_ns + 1_000_000_000) for one in in_red(inner=111, step=960)]
    shifted = [
        replace(one, payload=one.payload[:4] + struct.pack(">I", 48_000 + 960 * i) + one.payload[8:])
        for i, one in enumerate(late)
    ]
    (stream,) = read([described, *bare, *shifted]).streams
    assert (stream.codec, stream.codec_from, stream.payload_type) == ("opus", "sdp", 111)
    assert stream.trace.formats[63].name == "red"
    assert len(stream.doubts) == 1


@pytest.mark.parametrize("first", [None, 0x80 | 111, 111, 0])
def test_other_payloads_are_not_taken_for_red(first: int | None) -> None:
    rng = random.Random(3)
    payloads = [rng.randbytes(60) for _ in range(200)]
    if first is not None:
        payloads = [bytes([first]) + payload[1:] for payload in payloads]
    sent = rtp_stream("." * 200, payload_type=100)
    media = [replace(one, payload=one.payload[:12] + data) for one, data in zip(sent, payloads, strict=True)]
    (stream,) = read(media).streams
    assert (stream.codec, stream.codec_from) == ("", "unknown")


def events(payload_type: int = 101) -> list[Datagram]:
    """A digit held for a second: the timestamp is that of its beginning."""
    return [
        Datagram(
            START_NS + i * 20_000_000,
            bytes(RtpPacket(payload_type, i, 8000, 77, struct.pack(">BBH", 5, 10, (i + 1) * 160), i == 0)),
        )
        for i in range(50)
    ]


@pytest.mark.parametrize("named", [True, False])
def test_a_stream_of_telephone_events_alone_is_no_audio_and_says_so(named: bool) -> None:
    described = invite("m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")
    speech = rtp_stream("." * 40, ssrc=1)
    capture = read(together([described] if named else [], events(), speech))
    alone, voice = capture.streams
    assert (alone.media, voice.media) == ("events", "audio")
    assert (alone.codec, alone.codec_from) == ("telephone-event", "sdp" if named else "guessed")
    assert any("jitter and delay variation say nothing" in doubt for doubt in alone.doubts)
    assert choose_stream(capture).heard.ssrc == 1
    with pytest.raises(InputError, match="no stream of audio"):
        choose_stream(read(events()))


def test_repair_on_an_ssrc_of_its_own_is_no_audio_and_says_so() -> None:
    described = invite("m=audio 4000 RTP/AVP 0 118\r\na=rtpmap:118 flexfec/8000\r\n")
    repair = rtp_stream("." * 25, ssrc=5, payload_type=118, payload=bytes(30))
    capture = read(together([described], rtp_stream("." * 20, ssrc=1), repair))
    assert [(one.ssrc, one.media) for one in capture.streams] == [(5, "repair"), (1, "audio")]
    assert any("repair data only (flexfec)" in doubt for doubt in capture.streams[0].doubts)
    assert choose_stream(capture).heard.ssrc == 1
