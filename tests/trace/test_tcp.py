"""SIP and framed RTP in TCP streams, cut, merged, repeated, disordered and lost, against what was put in."""

from __future__ import annotations

import random
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.path.framing import frame
from earwitness.trace import container, tcp, tcp_stream
from earwitness.trace.capture import Capture, parse_capture, read_capture
from earwitness.trace.framings import Framing
from earwitness.trace.link_layer import Flow
from earwitness.trace.problem import ProblemKind
from testing.trace import tshark
from testing.trace.carrying import CARRIERS, segment, turn_channel, turn_indication
from testing.trace.making import START_NS, invite, pcap, rtp_stream, udp_packet

MEDIA = "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n"
Ends = tuple[tuple[str, int], tuple[str, int]]
SIX: Ends = (("fd00::1", 5060), ("fd00::2", 40_000))
FOUR: Ends = (("10.8.0.2", 5060), ("10.8.0.1", 40_000))
STEP_NS = 1_000_000


def sip(number: int, media: str = MEDIA) -> bytes:
    return (
        invite(media)
        .payload.replace(b"Call-ID: abc", b"Call-ID: %d" % number)
        .replace(b"CSeq: 1", b"CSeq: %d" % number)
    )


def segments(
    stream: bytes, sizes: Sequence[int], *, first: int = 0xFFFFFF00, begin_ns: int = START_NS - 10**9, ends: Ends = FOUR
) -> list[tuple[int, bytes]]:
    """A stream in segments of these sizes, the rest in one; its numbering wraps."""
    found, at = [], 0
    for i, size in enumerate([*sizes, len(stream)]):
        piece = stream[at : at + size]
        if piece:
            found.append((begin_ns + i * STEP_NS, segment(piece, first + at, *ends)))
        at += len(piece)
    return found


def call() -> list[tuple[int, bytes]]:
    return [(d.time_ns, udp_packet(d)) for d in rtp_stream("." * 30, payload_type=96, clock_rate=48_000)]


def read(packets: Sequence[tuple[int, bytes]], **options: int) -> Capture:
    return parse_capture(pcap(packets, **options))  # type: ignore[arg-type]


def cut_at_random(length: int, seed: int, most: int) -> list[int]:
    rng = random.Random(seed)
    sizes: list[int] = []
    while sum(sizes) < length:
        sizes.append(rng.randrange(1, most))
    return sizes


@pytest.mark.parametrize("ends", [FOUR, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("most", [2, 40, 500, 100_000])
def test_sip_over_tcp_names_the_codec_however_it_is_cut(ends: Ends, most: int) -> None:
    stream = b"\r\n\r\n" + sip(1) + b"\r\n" + sip(2, "") + sip(3)
    capture = read([*segments(stream, [8, *cut_at_random(len(stream), most, most)], ends=ends), *call()])
    assert [message.call_id for message in capture.sip] == (["1", "2", "3"])
    assert [message.cseq for message in capture.sip] == [1, 2, 3]
    assert not any(message.truncated for message in capture.sip)
    assert [(stream.codec, stream.codec_from) for stream in capture.streams] == [("opus", "sdp")]
    assert not capture.problems


def spoil(name: str, sent: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    match name:
        case "swapped":
            return [sent[1], sent[0], sent[3], sent[2], *sent[4:]]
        case "backwards":
            return sent[::-1]
        case "repeated":
            return [each for each in sent for _ in range(2)]
        case "all again":
            return [*sent, *sent]
        case "kept alive":
            # A keep-alive probe repeats the last byte (RFC 9293 3.8.4).
            probe = sent[1][1]
            number = struct.unpack_from(">I", probe, 24)[0] + len(probe) - 41
            again = (
                probe[:2] + struct.pack(">H", 41) + probe[4:24] + struct.pack(">I", number & 0xFFFFFFFF) + probe[28:40]
            )
            return [*sent[:2], (sent[1][0], again + probe[-1:]), *sent[2:]]
        case _:
            raise AssertionError(name)


DISORDER = ("swapped", "backwards", "repeated", "all again", "kept alive")


@pytest.mark.parametrize("name", DISORDER)
def test_disordered_and_repeated_segments_give_each_message_once(name: str) -> None:
    stream = sip(1) + sip(2)
    sent = spoil(name, segments(stream, [200] * 10))
    capture = read([(START_NS - 10**9 + i, packet) for i, (_, packet) in enumerate(sent)])
    assert [message.call_id for message in capture.sip] == ["1", "2"]
    assert [len(message.media) for message in capture.sip] == [1, 1]
    assert [problem.kind for problem in capture.problems] == [ProblemKind.NO_RTP]


def test_a_segment_that_the_capture_lacks_costs_its_message_only() -> None:
    stream = b"".join(sip(i) for i in range(1, 6))
    size = len(sip(1))
    sent = segments(stream, [size // 2, size - size // 2] * 5)
    capture = read(sent[:3] + sent[4:])
    assert [(m.call_id, m.truncated) for m in capture.sip] == [(str(i), i == 2) for i in range(1, 6)]
    assert "1 places where segments of SIP or RTP over TCP are missing or cut" in capture.problems[0].detail


def test_a_snap_length_leaves_the_first_lines_of_every_message() -> None:
    stream = b"".join(sip(i) for i in range(1, 4))
    capture = read(segments(stream, [len(sip(1))] * 3), snap_length=150)
    assert [(m.method, m.truncated) for m in capture.sip] == [("INVITE", True)] * 3


def test_a_message_that_the_end_of_the_capture_cuts_is_read_as_far_as_it_goes() -> None:
    capture = read([*segments(sip(1)[:-2], [100, 100]), *call()])
    assert [(m.call_id, m.truncated) for m in capture.sip] == [("1", True)]
    assert capture.streams[0].codec_from == "sdp"


def test_a_second_connection_between_the_same_ports() -> None:
    opened = segment(b"", 77, *FOUR, flags=0x02)
    second = segments(sip(2), [100], first=78, begin_ns=START_NS)
    capture = read([*segments(sip(1)[:-30], [100]), (START_NS, opened), *second])
    assert [(m.call_id, m.truncated) for m in capture.sip] == [("1", True), ("2", False)]


@pytest.mark.parametrize("name", ["gre", "vxlan", "pppoe", "gtp"])
def test_sip_over_tcp_in_a_carrier(name: str) -> None:
    packets = [(t, CARRIERS[name](packet)) for t, packet in [*segments(sip(1), [300]), *call()]]
    capture = parse_capture(pcap(packets, link="ethernet"))
    assert [(stream.codec, stream.codec_from) for stream in capture.streams] == [("opus", "sdp")]


def test_sip_over_tls_is_named() -> None:
    ends: Ends = (("10.8.0.2", 40_000), ("10.8.0.1", 5061))
    hello = b"\x16\x03\x01\x00\x64" + bytes(100)
    data = b"\x17\x03\x03\x01\x00" + bytes(256)
    capture = read([*segments(hello + data * 4, [105, 261, 261, 261, 261], ends=ends), *call()])
    assert [(stream.codec, stream.codec_from) for stream in capture.streams] == [("opus", "guessed")]
    (problem,) = capture.problems
    assert problem.kind == ProblemKind.UNSUPPORTED
    assert problem.detail.startswith("SIP over TLS on port 5061: 5 packets, cannot be read; ")


BODY = bytes(range(100, 133))
RTP_ENDS: Ends = (("10.8.0.2", 50_001), ("10.8.0.1", 3478))
FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "rfc 4571": frame,
    "turn channel": turn_channel,
    "turn indication": turn_indication,
    "rtsp": lambda packet: b"$\x02" + struct.pack(">H", len(packet)) + packet,
}


def framed_call(name: str, count: int = 12) -> list[bytes]:
    return [FRAMINGS[name](d.payload) for d in rtp_stream("." * count, payload=BODY)]


def arrivals(capture: Capture) -> list[int]:
    (stream,) = capture.streams
    assert stream.trace.payloads is not None
    assert all(stream.trace.payloads[i] == BODY for i in range(len(stream.trace)))
    return [int(time_ns) for time_ns in stream.trace.arrived_ns]


@pytest.mark.parametrize("name", FRAMINGS)
def test_rtp_framed_in_tcp_is_a_stream_with_the_times_of_its_segments(name: str) -> None:
    frames = framed_call(name, 5)
    size = len(frames[0])
    sent = [
        (START_NS + 20_000_000 * i, segment(content, 1000 + size * i, *RTP_ENDS)) for i, content in enumerate(frames)
    ]
    capture = read(sent)
    assert np.diff(arrivals(capture)).tolist() == [20_000_000] * 4
    assert capture.streams[0].flow == Flow("10.8.0.2", 50_001, "10.8.0.1", 3478, "TCP")
    assert not capture.problems


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FRAMINGS)), st.integers(0, 2**32), st.sampled_from((5, 30, 90, 400)))
def test_however_the_stream_is_cut_each_packet_comes_with_the_segment_that_completed_it(
    name: str, seed: int, most: int
) -> None:
    frames = framed_call(name)
    stream = b"".join(frames)
    # Of tiny first segments nothing is known, and a stream is told by the beginning of one.
    sizes = [len(frames[0]), *cut_at_random(len(stream), seed, most)]
    capture = read(segments(stream, sizes, begin_ns=START_NS, ends=RTP_ENDS))
    ends, done = np.cumsum([min(size, len(stream)) for size in sizes]), np.cumsum([len(each) for each in frames])
    if name.startswith("turn channel"):
        assert all(len(each) % 4 == 0 for each in frames)
    expected = [START_NS + int(np.searchsorted(ends, end)) * STEP_NS for end in done]
    assert arrivals(capture) == [time_ns // 1000 * 1000 for time_ns in expected]
    assert not capture.problems


@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize("disorder", DISORDER)
def test_framed_rtp_out_of_order_waits_for_what_is_missing(name: str, disorder: str) -> None:
    frames = framed_call(name)
    sent = spoil(disorder, segments(b"".join(frames), [len(each) for each in frames], ends=RTP_ENDS))
    capture = read([(START_NS + i * STEP_NS, packet) for i, (_, packet) in enumerate(sent)])
    times = arrivals(capture)
    assert len(times) == 12
    assert times == sorted(times)
    assert capture.streams[0].trace.sequence.tolist() == list(range(1000, 1012))
    if disorder == "swapped":
        assert times[0] == times[1] == START_NS + STEP_NS
    assert not capture.problems


def test_a_lost_segment_costs_its_packets_and_is_told() -> None:
    frames = framed_call("rfc 4571", 200)
    sent = segments(b"".join(frames), [len(each) for each in frames], ends=RTP_ENDS, begin_ns=START_NS)
    capture = read(sent[:50] + sent[52:])
    assert len(arrivals(capture)) == 198
    assert capture.streams[0].trace.arrived_ns[-1] == sent[-1][0]
    assert "1 places where segments of SIP or RTP over TCP are missing or cut" in str(capture.problems[0])


def test_a_packet_of_which_a_segment_is_missing_did_not_come_whole() -> None:
    frames = framed_call("rfc 4571", 200)
    sizes = [size for each in frames for size in (30, len(each) - 30)]
    sent = segments(b"".join(frames), sizes, ends=RTP_ENDS, begin_ns=START_NS)
    (stream,) = read(sent[:101] + sent[102:]).streams
    assert stream.trace.sequence.tolist() == [1000 + i for i in range(200) if i != 50]
    assert stream.trace.payloads is not None
    assert set(stream.trace.payloads.captured.tolist()) == {len(BODY)}
    assert any(note.startswith("1 packets count as not received") for note in stream.trace.notes)


def test_a_capture_that_begins_in_mid_stream() -> None:
    frames = framed_call("rfc 4571", 60)
    sent = segments(b"".join(frames)[10:], [len(frames[0]) - 10, *cut_at_random(2000, 3, 99)], ends=RTP_ENDS)
    assert len(arrivals(read(sent))) >= 55


def test_a_snap_length_leaves_the_headers_of_framed_rtp() -> None:
    frames = framed_call("rfc 4571", 20)
    sent = segments(b"".join(frames), [len(each) for each in frames], ends=RTP_ENDS)
    (stream,) = read(sent, snap_length=70).streams
    assert len(stream.trace) == 20
    assert stream.trace.size.tolist() == [len(BODY)] * 20
    assert stream.trace.payloads is not None
    assert stream.trace.payloads.captured.tolist() == [70 - 40 - 2 - 12] * 20


def test_sip_and_rtcp_in_frames_as_the_tcp_path_sends_them() -> None:
    report = struct.pack(">BBHI", 0x81, 201, 7, 5) + bytes(24)
    ends: Ends = (("10.8.0.2", 50_002), ("10.8.0.1", 9001))
    signalling = segments(frame(sip(1)) + frame(sip(2)), [300], ends=ends)
    reports = segments(frame(report) * 4, [34] * 3, ends=RTP_ENDS)
    capture = read([*signalling, *reports])
    assert [message.call_id for message in capture.sip] == ["1", "2"]
    assert len(capture.udp) == 6


@pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
def test_tshark_finds_the_same_packets_in_framed_rtp(tmp_path: Path) -> None:
    frames = framed_call("rfc 4571", 100)
    stream = b"".join(frames)
    sizes = [len(frames[0]), *cut_at_random(len(stream), 9, 130)]
    data = pcap(segments(stream, sizes, ends=RTP_ENDS))
    (tmp_path / "a.pcap").write_bytes(data)
    assert tshark.TSHARK is not None
    fields = ["-T", "fields", "-e", "frame.number", "-e", "rtp.seq", "-Y", "rtp"]
    command = [tshark.TSHARK, "-r", str(tmp_path / "a.pcap"), "-d", "tcp.port==3478,rtp", *fields]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    theirs = [(int(line.split("\t")[0]) - 1, int(n)) for line in lines for n in line.split("\t")[1].split(",")]
    found = parse_capture(data)
    (ours,) = found.streams
    assert [(int(r), int(n)) for r, n in zip(found.udp.record, ours.trace.sequence, strict=True)] == theirs


def test_streams_over_several_pieces_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = framed_call("rfc 4571", 200)
    media = segments(b"".join(frames), [len(frames[0]), *cut_at_random(9000, 1, 70)], ends=RTP_ENDS, begin_ns=START_NS)
    messages = segments(b"".join(sip(i) for i in range(20)), [111] * 100, begin_ns=START_NS)
    packets = sorted([*media, *messages])
    packets = packets[:90] + packets[91:]
    (tmp_path / "a.pcap").write_bytes(pcap(packets))
    monkeypatch.setattr(container, "PIECE_BYTES", 4096)
    pieces, whole = read_capture(tmp_path / "a.pcap"), read(packets)
    assert pieces.sip == whole.sip
    assert pieces.problems == whole.problems
    assert [s.trace.arrived_ns.tolist() for s in pieces.streams] == [s.trace.arrived_ns.tolist() for s in whole.streams]
    assert len(pieces.streams) == 1


def test_other_connections_are_no_streams_and_cost_little() -> None:
    rng = random.Random(4)
    packets = []
    for connection in range(40):
        ends: Ends = (("10.8.0.2", 30_000 + connection), ("10.8.0.1", 443))
        content = rng.randbytes(1400 * 100)
        packets += segments(content, [1400] * 100, ends=ends, begin_ns=START_NS + connection)
    begun = time.process_time()
    capture = read(sorted(packets))
    assert time.process_time() - begun < 3.0
    assert not capture.streams
    assert not capture.sip
    assert [problem.kind for problem in capture.problems] == [ProblemKind.NO_RTP]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MOST_HELD_BYTES", 10_000)
    monkeypatch.setattr(tcp, "MOST_STREAMS", 8)
    head = b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 99999\r\n\r\n"
    packets = []
    for connection in range(200):
        ends: Ends = (("10.8.0.2", 30_000 + connection), ("10.8.0.1", 5060))
        packets += segments(head + bytes(900), [500], ends=ends)
    capture = read(packets)
    assert len(capture.sip) == 200
    assert all(message.truncated for message in capture.sip)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*sorted(FRAMINGS), "sip"]), st.integers(0, 2**32))
def test_spoilt_streams_never_raise(name: str, seed: int) -> None:
    rng = random.Random(seed)
    stream = bytearray(b"".join(framed_call(name)) if name != "sip" else sip(1) + sip(2))
    for _ in range(rng.randrange(8)):
        stream[rng.randrange(len(stream))] = rng.randrange(256)
    sent = segments(bytes(stream), cut_at_random(len(stream), seed, 200), first=rng.randrange(2**32))
    sent = [pair for pair in sent if rng.random() < 0.9] + rng.choices(sent, k=3)
    rng.shuffle(sent)
    assert read(sent, snap_length=rng.choice((60, 100, 9000))).packets == len(sent)


def test_a_stream_bound_holds_its_segments() -> None:
    stream = tcp_stream.TcpStream(Framing.FRAMED, 0)
    for i in range(5000):
        stream.take(10_000 + 200 * i, tcp_stream.Segment(bytes(100), 0, i, i))
        assert stream.held < 70 * 200 + 2**17
