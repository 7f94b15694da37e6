"""Framed RTP in TCP whose segments lie across frames, and of which the capture lacks some or the beginning."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.path.framing import frame
from earwitness.trace import tcp_stream
from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.framings import Framing
from testing.trace.carrying import segment
from testing.trace.making import START_NS, pcap
from testing.trace.tcp_frames import RTP_FRAMES, Captured, framed_packets, in_segments

ENDS = (("10.8.0.2", 50_001), ("10.8.0.1", 3478))
COUNT = 400
SIZES = (333, 1448)


def read(parts: Iterable[Captured], snap_length: int = 262_144) -> Capture:
    packets = [(part.time_ns, segment(part.data, part.sequence, *ENDS)) for part in parts]
    return parse_capture(pcap(packets, snap_length=snap_length))


def numbers(capture: Capture) -> list[int]:
    """Which packets were read, by their numbers; their content is as sent unless the capture lacks its end."""
    (stream,) = capture.streams
    assert stream.ssrc == 0xD1
    found = [int(number - 65_300) % 65_536 for number in stream.trace.sequence]
    assert stream.trace.payloads is not None
    for i, number in enumerate(found):
        sent = framed_packets(COUNT)[number][12:]
        assert sent.startswith(stream.trace.payloads[i])
    return found


def expected(stream_parts: list[Captured], frames: list[bytes], lost: set[int]) -> set[int]:
    """Packets whose frame no lost segment touches."""
    ends = np.cumsum([len(each) for each in frames])
    gone = set()
    at = 0
    for i, part in enumerate(stream_parts):
        if i in lost:
            gone |= set(np.flatnonzero((ends > at) & (ends - [len(each) for each in frames] < at + len(part.data))))
        at += len(part.data)
    return set(range(len(frames))) - {int(each) for each in gone}


@pytest.mark.parametrize("lost", [{10}, {5, 20}, {11, 12}, {3, 5, 7, 9}])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RTP_FRAMES)
def test_a_lost_segment_costs_the_frames_in_it_alone(name: str, size: int, lost: set[int]) -> None:
    frames = [RTP_FRAMES[name](packet) for packet in framed_packets(COUNT)]
    parts = in_segments(b"".join(frames), size)
    capture = read(part for i, part in enumerate(parts) if i not in lost)
    found = numbers(capture)
    assert found == sorted(set(found))
    kept = expected(parts, frames, lost)
    # A frame is read as far as it goes if its end is missing, and needs a segment of its own to be found in.
    lacking, ends_missing = kept - set(found), set(found) - kept
    assert len(lacking) <= sum(1 for i in lost if i + 2 in lost)
    assert len(ends_missing) <= len(lost)
    assert "places where segments of SIP or RTP over TCP are missing or cut" in capture.problems[0].detail
    # Each packet has the time of the segment that completed it, although it was found later.
    done = np.cumsum([len(each) for each in frames])
    borders = np.cumsum([len(part.data) for part in parts])
    (stream,) = capture.streams
    for number, arrived_ns in zip(found, stream.trace.arrived_ns, strict=True):
        if number in kept:
            assert arrived_ns == parts[int(np.searchsorted(borders, done[number]))].time_ns


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RTP_FRAMES)
@pytest.mark.parametrize("skipped", [1, 3, 30, 100, 250, 400])
def test_a_capture_that_begins_in_mid_connection_is_read_from_its_first_whole_frame(
    name: str, size: int, skipped: int
) -> None:
    frames = [RTP_FRAMES[name](packet) for packet in framed_packets(COUNT)]
    capture = read(in_segments(b"".join(frames)[skipped:], size))
    first = int(np.searchsorted(np.cumsum([0, *(len(each) for each in frames)]), skipped))
    assert numbers(capture) == list(range(first, COUNT))
    assert [problem.detail for problem in capture.problems] == [
        "1 TCP streams with RTP begin before the capture; read from their first whole frame on"
    ]


@pytest.mark.parametrize("name", RTP_FRAMES)
def test_a_connection_whose_frames_all_lie_across_small_segments_is_found(name: str) -> None:
    opened = segment(b"", 0xFFFF_FF00 - 1, *ENDS, flags=0x02)
    stream = b"".join(RTP_FRAMES[name](packet) for packet in framed_packets(COUNT))
    parts = [(p.time_ns, segment(p.data, p.sequence, *ENDS)) for p in in_segments(stream, 100)]
    for packets in (parts, [(START_NS - 1, opened), *parts]):
        capture = parse_capture(pcap(packets))
        assert numbers(capture) == list(range(COUNT))
        assert not capture.problems


def test_two_streams_in_one_connection_both_go_on_after_a_hole() -> None:
    audio, video = framed_packets(COUNT), framed_packets(COUNT, ssrc=0xE2, size=700)
    frames = [frame(packet) for pair in zip(audio, video, strict=True) for packet in pair]
    parts = in_segments(b"".join(frames), 1448)
    capture = read(part for i, part in enumerate(parts) if i != 50)
    assert sorted(stream.ssrc for stream in capture.streams) == [0xD1, 0xE2]
    assert all(len(stream.trace) >= COUNT - 3 for stream in capture.streams)


def test_a_source_that_changed_in_a_hole_is_read_after_five_packets_in_a_row() -> None:
    frames = [frame(p) for p in (*framed_packets(60), *framed_packets(60, ssrc=0xE2))]
    parts = in_segments(b"".join(frames), 333)
    hole = sum(len(each) for each in frames[:58]) // 333
    capture = read(part for i, part in enumerate(parts) if not hole <= i < hole + 4)
    assert {stream.ssrc for stream in capture.streams} == {0xD1, 0xE2}
    assert sum(len(stream.trace) for stream in capture.streams) >= 110


@pytest.mark.parametrize("name", RTP_FRAMES)
def test_the_last_packet_after_a_hole_is_read_if_it_begins_a_segment(name: str) -> None:
    frames = [RTP_FRAMES[name](packet) for packet in framed_packets(20)]
    parts = in_segments(b"".join(frames), len(frames[0]))
    assert numbers(read([*parts[:18], parts[19]])) == [*range(18), 19]


def wrong(rng: random.Random, kind: str) -> bytes:
    """Bytes of no call that resemble one in something."""
    count = rng.randrange(2000, 40_000)
    match kind:
        case "random":
            return rng.randbytes(count)
        case "few values":
            return bytes(rng.choices((0, 0x80, 0x40, 0x24, 1, 0x0C, 0x21), k=count))
        case "one frame again and again":
            return rng.randbytes(rng.randrange(40)) + frame(framed_packets(1)[0]) * 100
        case "headers without frames":
            return b"".join(rng.randbytes(rng.randrange(3, 20)) + packet for packet in framed_packets(100))
        case "four packets":
            return rng.randbytes(333) + b"".join(map(frame, framed_packets(4))) + rng.randbytes(3000)
        case "numbers at random":
            found = [struct.pack(">BBHII", 0x80, 0, rng.randrange(65_536), 0, 0xD1) + bytes(160) for _ in range(100)]
            return rng.randbytes(99) + b"".join(map(frame, found))
        case "text":
            return b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % rng.randrange(999) for _ in range(300))
        case _:
            raise AssertionError(kind)


NOT_RTP = ("random", "few values", "one frame again and again", "headers without frames", "text")
WRONG = (*NOT_RTP, "four packets", "numbers at random")


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(WRONG), st.integers(0, 2**32), st.sampled_from((100, 333, 1448)))
def test_other_bytes_invent_no_stream(kind: str, seed: int, size: int) -> None:
    rng = random.Random(seed)
    parts = in_segments(rng.randbytes(1) + wrong(rng, kind), size)
    capture = read(part for part in parts if rng.random() < 0.95)
    # A repeated frame, and packets with other numbers, can be packets of a sender; nothing else is any.
    assert all(stream.ssrc == 0xD1 for stream in capture.streams)
    if kind in NOT_RTP:
        assert not capture.streams
    assert not any("before the capture" in problem.detail for problem in capture.problems)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(RTP_FRAMES)), st.integers(0, 2**32), st.sampled_from(SIZES))
def test_holes_and_spoilt_bytes_invent_no_source_and_no_number(name: str, seed: int, size: int) -> None:
    rng = random.Random(seed)
    stream = bytearray(b"".join(RTP_FRAMES[name](packet) for packet in framed_packets(COUNT)))
    begin = rng.randrange(1000)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(stream))
        stream[at : at + 400] = rng.randbytes(len(stream[at : at + 400]))
    parts = [part for part in in_segments(bytes(stream[begin:]), size) if rng.random() < 0.95]
    capture = read(parts)
    found = [int(number - 65_300) % 65_536 for number in capture.streams[0].trace.sequence]
    assert capture.streams[0].ssrc == 0xD1
    # Where reading was in step, a spoilt packet is one all the same; nothing is gone on at in the wrong place.
    assert sum(number >= COUNT for number in found) == 0
    assert sum(len(other.trace) for other in capture.streams[1:]) <= 3


def pattern(name: str) -> bytes:
    match name:
        case "lengths and versions":
            return b"\x00\x0c\x80\x80" * 2**17
        case "pairs everywhere":
            # Each two packets are in step, and the third is none.
            two = b"".join(map(frame, framed_packets(2, size=0)))
            return (two + b"\x00") * 2**14
        case "sources everywhere":
            return frame(framed_packets(9, size=0)[8]) * 2**15
        case _:
            return random.Random(1).randbytes(2**19)


@pytest.mark.parametrize("size", [20, 1448])
@pytest.mark.parametrize("name", ["lengths and versions", "pairs everywhere", "sources everywhere", "random"])
@pytest.mark.parametrize("kind", [Framing.NONE, Framing.FRAMED, Framing.TURN, Framing.RTSP], ids=lambda kind: kind.name)
@pytest.mark.parametrize("holes", [False, True])
def test_a_search_takes_time_in_proportion_and_bounded_memory(kind: Framing, name: str, size: int, holes: bool) -> None:
    """Half a megabyte of what is hardest to search, after a call that was believed; the capture lacks some of it."""
    framed: dict[Framing, Callable[[bytes], bytes]] = {
        Framing.NONE: frame,
        Framing.FRAMED: frame,
        Framing.TURN: RTP_FRAMES["channel data"],
        Framing.RTSP: RTP_FRAMES["rtsp"],
    }
    begin = b"" if kind == Framing.NONE else b"".join(map(framed[kind], framed_packets(8)))
    stream, at, most = tcp_stream.TcpStream(kind, 0), 0, 0
    content = begin + b"\xff" * 9 + pattern(name)
    begun = time.process_time()
    for i in range(0, len(content), size):
        piece = content[i : i + size]
        if not holes or i // size % 7:
            stream.take(at % 2**32, tcp_stream.Segment(piece, 0, i, i))
        at += len(piece)
        if i // size % 50 == 0:
            most = max(most, stream.held)
        stream.found.clear()
    stream.end()
    assert time.process_time() - begun < 4.0
    assert most < 2**18


def test_memory_of_a_search_is_bounded() -> None:
    data = random.Random(2).randbytes(2**16)
    stream = tcp_stream.TcpStream(Framing.FRAMED, 0)
    for i, packet in enumerate(framed_packets(8)):
        stream.take(stream.expected, tcp_stream.Segment(frame(packet), 0, i, i))
    stream.take((stream.expected + 1) % 2**32, tcp_stream.Segment(b"\xff" * 9, 0, 9, 9))
    tracemalloc.start()
    for i in range(100):
        stream.take((stream.expected + 10) % 2**32, tcp_stream.Segment(data[i * 600 :][:600], 0, i, i))
        stream.take(stream.expected, tcp_stream.Segment(data[i * 600 :][:600], 0, i, i))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20
