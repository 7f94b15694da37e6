"""Fragmented datagrams put together again; scapy cuts them, too."""

from __future__ import annotations

import random
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.trace import container, fragments
from earwitness.trace.capture import Capture, parse_capture, read_capture
from earwitness.trace.loss import loss
from earwitness.trace.problem import ProblemKind
from testing.trace import tshark
from testing.trace.carrying import CARRIERS, ethernet, gre
from testing.trace.carrying import fragments as cut
from testing.trace.making import START_NS, invite, pcap, rtp_stream, together, udp_packet
from testing.trace.mutating import SIX

LONG = "m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 speex/8000\r\n" + "a=candidate:1 1 UDP 1 10.8.0.2 4000 typ host\r\n" * 40
BODY = bytes(range(256)) * 6


def frames_of(packets: list[tuple[int, bytes]], size: int, apart_ns: int = 1000) -> list[tuple[int, bytes]]:
    """Each packet in fragments, some time apart."""
    return [(t + i * apart_ns, piece) for t, packet in packets for i, piece in enumerate(cut(packet, size))]


def numbered(packets: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """IPv4 packets with identifications of their own, as hosts give them."""
    return [(t, p[:4] + struct.pack(">H", i + 1) + p[6:]) for i, (t, p) in enumerate(packets)]


def steps_ms(capture: Capture) -> list[float]:
    (stream,) = capture.streams
    return [float(b - a) / 1e6 for a, b in zip(stream.trace.arrived_ns, stream.trace.arrived_ns[1:], strict=False)]


@pytest.mark.parametrize("ends", [{}, SIX], ids=["IPv4", "IPv6"])
def test_fragmented_rtp_is_whole_and_arrives_with_its_last_fragment(ends: dict[str, tuple[str, int]]) -> None:
    sent = rtp_stream(".....", payload=BODY, **ends)  # type: ignore[arg-type]
    packets = [(d.time_ns, udp_packet(d)) for d in sent]
    capture = parse_capture(pcap(frames_of(packets if ends else numbered(packets), 512)))
    assert steps_ms(capture) == [20.0] * 4
    trace = capture.streams[0].trace
    assert trace.arrived_ns[0] == START_NS + 3000
    assert trace.payloads is not None
    assert [trace.payloads[i] for i in range(5)] == [BODY] * 5
    assert not capture.problems


@pytest.mark.parametrize("order", ["in order", "backwards", "twice", "doubled"])
def test_any_order_and_repetition_of_fragments_gives_the_same_message(order: str) -> None:
    message = invite(LONG)
    pieces = cut(udp_packet(message), 504)
    pieces = {
        "in order": pieces,
        "backwards": pieces[::-1],
        "twice": [piece for piece in pieces for _ in range(2)],
        "doubled": [*pieces, *pieces],
    }[order]
    capture = parse_capture(pcap([(START_NS + i, piece) for i, piece in enumerate(pieces)]))
    (read,) = capture.sip
    assert not read.truncated
    assert read.media[0].encodings[97].name == "speex"
    assert [problem.kind for problem in capture.problems] == [ProblemKind.NO_RTP]


def test_a_fragmented_offer_names_the_codec_of_the_stream() -> None:
    call = rtp_stream("." * 10, payload_type=97, payload=bytes(28))
    signalling = frames_of([(START_NS - 10**9, udp_packet(invite(LONG)))], 1480)
    capture = parse_capture(pcap([*signalling, *((d.time_ns, udp_packet(d)) for d in call)]))
    assert [(stream.codec, stream.codec_from) for stream in capture.streams] == [("speex", "sdp")]
    assert not capture.problems


def test_a_carriers_packets_are_cut_and_what_is_in_them_too() -> None:
    sent = rtp_stream(".....", payload=BODY)
    inner = numbered([(d.time_ns, udp_packet(d)) for d in sent])
    outer = [(t + i, CARRIERS["gre"](piece)[14:]) for t, p in inner for i, piece in enumerate(cut(p, 1480))]
    capture = parse_capture(pcap(frames_of(numbered(outer), 800)))
    assert steps_ms(capture) == [20.0] * 4
    assert capture.streams[0].flow.source == "10.8.0.1"
    assert not capture.problems


def test_a_datagram_that_lacks_a_fragment_did_not_arrive() -> None:
    sent = rtp_stream(".....", payload=BODY)
    frames = frames_of(numbered([(d.time_ns, udp_packet(d)) for d in sent]), 512)
    without_an_end = [pair for i, pair in enumerate(frames) if i != 3]
    capture = parse_capture(pcap(without_an_end))
    (problem,) = capture.problems
    assert str(problem) == "fragmented: 1 first fragments of datagrams of which others are missing"
    trace = capture.streams[0].trace
    assert trace.sequence.tolist() == [1001, 1002, 1003, 1004]
    assert trace.payloads is not None
    assert trace.payloads.captured.tolist() == [len(BODY)] * 4
    (note,) = trace.notes
    assert note.startswith("1 packets count as not received: fragments")
    without_a_beginning = [pair for i, pair in enumerate(frames) if i != 4]
    capture = parse_capture(pcap(without_a_beginning))
    (problem,) = capture.problems
    assert str(problem) == "fragmented: 3 fragments of datagrams whose first fragment is missing; skipped"
    assert len(capture.streams[0].trace) == 4


@pytest.mark.parametrize("carried", [False, True], ids=["plain", "in GRE"])
def test_datagrams_whose_second_fragment_is_lost_count_as_lost(carried: bool) -> None:
    sent = [(d.time_ns, udp_packet(d)) for d in rtp_stream("." * 50, payload=BODY)]
    if carried:
        sent = [(t, CARRIERS["gre"](packet)[14:]) for t, packet in sent]
    frames = frames_of(numbered(sent), 1200)
    lost = {11, 31, 33}
    capture = parse_capture(pcap([pair for i, pair in enumerate(frames) if i not in lost]))
    (stream,) = capture.streams
    found = loss(stream.trace)
    assert (found.received, found.expected, found.lost) == (47, 50, 3)
    assert stream.trace.notes[-1].startswith("3 packets count as not received")
    assert stream.trace.payloads is not None
    assert set(stream.trace.payloads.captured.tolist()) == {len(BODY)}


@pytest.mark.parametrize("snap_length", [262_144, 100])
def test_without_any_later_fragment_the_capture_lacks_them_and_all_arrived(snap_length: int) -> None:
    sent = [(d.time_ns, udp_packet(d)) for d in rtp_stream("." * 10, payload=BODY)]
    first_ones = [pair for pair in frames_of(numbered(sent), 1200) if struct.unpack_from(">H", pair[1], 6)[0] == 0x2000]
    (stream,) = parse_capture(pcap(first_ones, snap_length=snap_length)).streams
    assert len(stream.trace) == 10
    assert stream.trace.size.tolist() == [len(BODY)] * 10
    assert stream.trace.payloads is not None
    assert stream.trace.payloads.captured.tolist() == [min(1200, snap_length - 20) - 8 - 12] * 10
    assert stream.trace.payloads.take(np.arange(2)).cut_by == "the lack of their later fragments"
    assert stream.trace.notes[-1].startswith("10 packets came in fragments, of which the capture has only the first")


def test_each_flow_tells_for_itself_which_datagrams_arrived() -> None:
    whole = rtp_stream("." * 10, payload=BODY)
    other = rtp_stream("." * 10, payload=BODY, ssrc=2, destination=("10.8.0.2", 4002))
    frames = frames_of(numbered([(d.time_ns, udp_packet(d)) for d in together(whole, other)]), 1200)
    # Of the second flow all later fragments are missing, of the first one that of the third datagram.
    kept = [pair for i, pair in enumerate(frames) if i % 4 != 3 and i != 9]
    streams = parse_capture(pcap(kept)).streams
    assert {stream.flow.destination_port: len(stream.trace) for stream in streams} == {4000: 9, 4002: 10}


def test_where_other_later_fragments_were_captured_none_of_the_incomplete_datagrams_arrived() -> None:
    sent = [(d.time_ns, udp_packet(d)) for d in rtp_stream("." * 10, payload=BODY)]
    frames = frames_of(numbered(sent), 512)
    # Fragmented in four: the second is missing of one, all later ones of another, and the rest came unfragmented.
    kept = [frames[0], *frames[2:5], *((t, p) for t, p in numbered(sent)[2:])]
    (stream,) = parse_capture(pcap(kept)).streams
    assert stream.trace.sequence.tolist() == list(range(1002, 1010))


def test_a_request_that_lacks_a_fragment_is_read_as_far_as_it_goes() -> None:
    pieces = cut(udp_packet(invite(LONG)), 504)
    (read,) = parse_capture(pcap([(START_NS, piece) for piece in pieces[:-1]])).sip
    assert read.truncated
    assert read.media[0].encodings[97].name == "speex"


def test_fragments_that_contradict_each_other_are_counted() -> None:
    first, second, third, *_ = cut(udp_packet(replace(rtp_stream(".")[0], payload=BODY)), 512)
    overlapping = second[:6] + struct.pack(">H", 0x2000 | 60) + second[8:]
    capture = parse_capture(pcap([(START_NS, first), (START_NS, overlapping), (START_NS, second), (START_NS, third)]))
    assert "1 fragments that overlap or contradict others of their datagram; skipped" in [
        problem.detail for problem in capture.problems
    ]


def test_a_snap_length_leaves_of_a_reassembled_datagram_what_was_captured() -> None:
    sent = rtp_stream(".....", payload=BODY)
    frames = frames_of(numbered([(d.time_ns, udp_packet(d)) for d in sent]), 512)
    capture = parse_capture(pcap(frames, snap_length=100))
    trace = capture.streams[0].trace
    assert steps_ms(capture) == [20.0] * 4
    assert trace.size.tolist() == [len(BODY)] * 5
    assert trace.payloads is not None
    assert trace.payloads.captured.tolist() == [100 - 20 - 8 - 12] * 5


def test_fragments_of_several_pieces_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = rtp_stream("." * 40, payload=BODY)
    data = pcap(frames_of(numbered([(d.time_ns, udp_packet(d)) for d in sent]), 256))[:-400]
    (tmp_path / "a.pcap").write_bytes(data)
    monkeypatch.setattr(container, "PIECE_BYTES", 3000)
    pieces, whole = read_capture(tmp_path / "a.pcap"), parse_capture(data)
    assert [p.kind for p in pieces.problems] == [ProblemKind.TRUNCATED, ProblemKind.FRAGMENTED]
    assert pieces.problems == whole.problems
    for one, other in zip(pieces.streams, whole.streams, strict=True):
        assert one.trace.arrived_ns.tolist() == other.trace.arrived_ns.tolist()
        assert one.trace.payloads is not None
        assert other.trace.payloads is not None
        assert [one.trace.payloads[i] for i in range(39)] == [other.trace.payloads[i] for i in range(39)]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "MOST_WAITING", 20)
    packets = numbered([(START_NS + i, udp_packet(replace(rtp_stream(".")[0], payload=BODY))) for i in range(100)])
    capture = parse_capture(pcap([(t, cut(packet, 512)[0]) for t, packet in packets]))
    assert len(capture.udp) == 100
    assert [str(p) for p in capture.problems][:1] == [
        "fragmented: 100 first fragments of datagrams of which others are missing"
    ]


def test_what_scapy_cuts_is_put_together() -> None:
    inet = pytest.importorskip("scapy.layers.inet")
    inet6 = pytest.importorskip("scapy.layers.inet6")
    frames = []
    for i, datagram in enumerate(rtp_stream(".....", payload=BODY)):
        # All with the same identification, as careless tools make them.
        body = inet.UDP(sport=20848, dport=4000) / datagram.payload
        four = inet.fragment(inet.IP(src="10.8.0.1", dst="10.8.0.2") / body, 600)
        six = inet6.IPv6(src="fd00::1", dst="fd00::2") / inet6.IPv6ExtHdrFragment(id=i) / body
        pieces = [*four, *inet6.fragment6(six, 700)]
        frames += [(datagram.time_ns, bytes(piece)) for piece in pieces]
    capture = parse_capture(pcap(frames))
    assert [len(stream.trace) for stream in capture.streams] == [5, 5]
    for stream in capture.streams:
        assert stream.trace.payloads is not None
        assert [stream.trace.payloads[i] for i in range(5)] == [BODY] * 5
    assert not capture.problems


@pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
def test_tshark_puts_the_same_datagrams_together(tmp_path: Path) -> None:
    sent = rtp_stream("." * 20, payload=BODY)
    six = rtp_stream("." * 20, payload=BODY, ssrc=2, **SIX)
    frames = frames_of(numbered([(d.time_ns, udp_packet(d)) for d in sent]), 512)
    for i, datagram in enumerate(six):
        identified = [piece[:44] + struct.pack(">I", i) + piece[48:] for piece in cut(udp_packet(datagram), 600)]
        frames += [(datagram.time_ns + 7_000_000 + at, piece) for at, piece in enumerate(reversed(identified))]
    data = pcap(sorted(frames))
    (tmp_path / "a.pcap").write_bytes(data)
    assert tshark.TSHARK is not None
    fields = ["-T", "fields", "-e", "frame.number", "-e", "udp.payload", "-Y", "udp.payload"]
    command = [tshark.TSHARK, "-r", str(tmp_path / "a.pcap"), *fields]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = parse_capture(data).udp
    ours = [
        f"{record + 1}\t{found.data[start : start + captured].tobytes().hex()}"
        for record, start, captured in zip(found.record, found.start, found.captured, strict=True)
    ]
    assert len(ours) == 40
    assert ours == theirs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.booleans())
def test_fragments_in_any_disorder_never_raise(seed: int, size: int, six: bool) -> None:
    rng = random.Random(seed)
    ends = SIX if six else {}
    packets = [udp_packet(d) for d in rtp_stream("...", payload=BODY[:400], **ends)]
    pieces = [bytearray(piece) for packet in packets for piece in cut(packet, 8 * size)]
    for piece in pieces:
        if rng.random() < 0.3:
            piece[rng.randrange(min(len(piece), 60))] = rng.randrange(256)
    rng.shuffle(pieces)
    capture = parse_capture(pcap([(START_NS + i, bytes(piece)) for i, piece in enumerate(pieces)]))
    assert capture.packets == len(pieces)


def test_a_flood_of_tiny_fragments_is_quick() -> None:
    whole = udp_packet(replace(rtp_stream(".")[0], payload=bytes(60_000)))
    tiny = cut(whole, 8)[::-1]
    capture = parse_capture(pcap([(START_NS + i, piece) for i, piece in enumerate(tiny)]))
    assert any(p.kind == ProblemKind.FRAGMENTED for p in capture.problems)


def test_fragments_of_a_carrier_other_than_udp() -> None:
    sent = rtp_stream(".....", payload=BODY)
    frames = [(d.time_ns, gre(udp_packet(d), 0x0800)) for d in sent]
    pieces = [(t, ethernet(piece)) for t, piece in frames_of(numbered(frames), 1024)]
    assert steps_ms(parse_capture(pcap(pieces, link="ethernet"))) == [20.0] * 4
