"""Captures that are too much: holes, pipes, devices, floods. One line or an answer, and memory that has an end."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from earwitness.errors import InputError
from earwitness.trace import container, gather, link_layer, streams
from earwitness.trace import pcapng as pcapng_module
from earwitness.trace.capture import Capture, parse_capture, read_capture
from earwitness.trace.container import parse_records, read_pieces
from earwitness.trace.problem import ProblemKind
from earwitness.trace.rtcp import rtcp_round_trips
from earwitness.trace.tally import Tally
from earwitness.trace.timing import summarise
from testing.commands import with_repository
from testing.trace.making import PHONE, START_NS, Datagram, block, invite, pcap, pcapng, rtp_stream, together
from testing.trace.sizing import python, run, sparse

GIB = 1 << 30


def details(capture: Capture) -> str:
    return "; ".join(str(problem) for problem in capture.problems)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("head", [pcap([]), pcap(rtp_stream("....")), pcapng([("raw", 6, rtp_stream("..."))])])
@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_hole_of_a_gigabyte_costs_nothing(tmp_path: Path, head: bytes, options: tuple[str, ...]) -> None:
    done = run("timing", sparse(tmp_path / "hole.pcap", head, GIB), *options)
    assert done.code in (0, 2)
    assert "Traceback" not in done.error
    assert "zeros" in done.error or "claims 0 bytes" in done.error
    assert done.peak_mib < 300


def test_what_stands_before_a_hole_is_read() -> None:
    sound = rtp_stream("." * 20)
    capture = parse_capture(pcap(sound) + bytes(100_000))
    assert [len(stream.trace) for stream in capture.streams] == [20]
    assert details(capture) == (
        f"corrupt: zeros instead of packet 21; nothing after it can be trusted (at byte {len(pcap(sound))})"
    )
    after = parse_capture(pcap(sound) + bytes(100_000) + pcap(rtp_stream("....", sequence=1020))[24:], resume=True)
    assert [len(stream.trace) for stream in after.streams] == [24]
    assert "bytes skipped" in details(after)


@pytest.mark.timeout(60)
def test_what_is_no_file_is_one_line_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pcap")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.pcap"))
        for path, kind in (
            (tmp_path / "fifo.pcap", "a pipe"),
            (tmp_path / "socket.pcap", "a socket"),
            (Path("/dev/zero"), "a device"),
            (tmp_path, "a directory"),
        ):
            with pytest.raises(InputError, match=kind) as caught:
                read_capture(path)
            assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)
def test_a_process_substitution_is_refused_with_what_to_do() -> None:
    reading, writing = os.pipe()
    try:
        done = run("timing", f"/dev/fd/{reading}", pass_fds=(reading,))
    finally:
        os.close(reading)
        os.close(writing)
    assert done.code == 2
    assert len(done.lines) == 1
    assert "save its contents to a file" in done.lines[0]


def test_a_file_beyond_every_bound_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too large.*tshark.*editcap"):
        read_capture(sparse(tmp_path / "large.pcap", pcap(rtp_stream(".")), container.MOST_BYTES + 1))


@pytest.mark.parametrize(
    ("magic", "told"),
    [
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"\xfd7zXZ\x00", "unxz"),
        (b"BZh9", "bunzip2"),
        (b"\x04\x22\x4d\x18", "unlz4"),
    ],
)
def test_compressed_captures_are_told_by_name(tmp_path: Path, magic: bytes, told: str) -> None:
    (tmp_path / "a.pcap").write_bytes(magic + bytes(40))
    with pytest.raises(InputError, match=told):
        read_capture(tmp_path / "a.pcap")


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    whole = pcap(rtp_stream("." * 40, payload=bytes(1_000_000)[:60_000]))
    path.write_bytes(whole + whole[24:] * 30)  # longer than what was mapped once
    tally = Tally()
    pieces = read_pieces(path, tally)
    held = len(next(pieces))
    os.truncate(path, path.stat().st_size // 2)
    held += sum(len(records) for records in pieces)
    assert 0 < held < 31 * 40
    assert [problem.kind for problem in tally.problems()] == [ProblemKind.TRUNCATED]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 2 kB, so that a small file has many."""
    monkeypatch.setattr(container, "PIECE_BYTES", 2048)


MIXED = together(
    [invite("m=audio 4000 RTP/AVP 0\r\na=rtpmap:97 speex/8000\r\n")],
    rtp_stream("...x..d..___...l...." * 5, sequence=65_500),
    rtp_stream("." * 90, ssrc=2, payload_type=97, payload=bytes(28), source=PHONE, destination=("10.8.0.1", 20848)),
    rtp_stream("." * 30, source=("fd00::1", 4002), destination=("fd00::2", 4000)),
)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "data",
    [
        pcap(MIXED),
        pcap(MIXED, order=">", nanoseconds=True, link="qinq"),
        pcap(MIXED)[:-77],
        pcap(rtp_stream("..", payload=bytes(20_000))) + pcap(MIXED)[24:],
        pcapng([("raw", 6, MIXED)]),
        pcapng([("ethernet", 6, MIXED[:150]), ("cooked2", 9, MIXED[150:])]) + pcapng([("raw", 9, MIXED)], order=">"),
        pcapng([("raw", 6, MIXED)]) + block(77, bytes(9000)) + pcapng([("raw", 3, MIXED)])[:-3],
    ],
    ids=["pcap", "big-endian", "cut", "long packets", "pcapng", "sections", "long block"],
)
def test_a_file_in_pieces_is_read_as_one(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pcap").write_bytes(data)
    for resume in (False, True):
        pieces = read_capture(tmp_path / "a.pcap", resume=resume)
        whole = parse_capture(data, str(tmp_path / "a.pcap"), resume=resume)
        assert (pieces.packets, pieces.started_ns, pieces.ended_ns) == (whole.packets, whole.started_ns, whole.ended_ns)
        assert pieces.problems == whole.problems
        assert (pieces.format, pieces.link_types, pieces.resolution_ns, pieces.sip) == (
            whole.format,
            whole.link_types,
            whole.resolution_ns,
            whole.sip,
        )
        assert len(pieces.streams) == len(whole.streams) > 1
        for one, other in zip(pieces.streams, whole.streams, strict=True):
            assert str(one) == str(other)
            for column in ("sequence", "timestamp", "payload_type", "marker", "size", "arrived_ns"):
                assert np.array_equal(getattr(one.trace, column), getattr(other.trace, column))
            assert one.trace.payloads is not None
            assert other.trace.payloads is not None
            assert [one.trace.payloads[i] for i in range(len(one.trace))] == [
                other.trace.payloads[i] for i in range(len(other.trace))
            ]


@pytest.mark.usefixtures("small_pieces")
def test_reading_on_after_damage_is_the_same_in_pieces(tmp_path: Path) -> None:
    data = bytearray(pcap(rtp_stream("." * 200)))
    for at in (24 + 50 * 216, 24 + 120 * 216):
        data[at : at + 5000] = b"\xff" * 5000
    (tmp_path / "a.pcap").write_bytes(data)
    pieces = read_capture(tmp_path / "a.pcap", resume=True)
    whole = parse_capture(bytes(data), resume=True)
    assert pieces.problems == whole.problems
    assert len(pieces.problems) == 2
    assert [len(stream.trace) for stream in pieces.streams] == [len(stream.trace) for stream in whole.streams]


@pytest.mark.usefixtures("small_pieces")
def test_a_call_among_much_else_is_kept_and_the_rest_is_not(tmp_path: Path) -> None:
    call = rtp_stream("." * 50)
    other = [Datagram(START_NS + i * 1000, b"\x17\x03\x03" + bytes(1300)) for i in range(2000)]
    (tmp_path / "a.pcap").write_bytes(pcap(together(call, other)))
    capture = read_capture(tmp_path / "a.pcap")
    assert capture.packets == 2050
    assert len(capture.udp) == 50
    assert len(capture.udp.data) < 50 * 4096
    assert [len(stream.trace) for stream in capture.streams] == [50]
    assert not capture.problems


@pytest.mark.usefixtures("small_pieces")
def test_more_sound_than_is_kept_leaves_the_timing_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pcap(rtp_stream("...x..d..___...l...." * 10))
    (tmp_path / "a.pcap").write_bytes(data)
    monkeypatch.setattr(gather, "MOST_PAYLOAD_BYTES", 8000)
    cut = read_capture(tmp_path / "a.pcap")
    assert "packets past the first" in details(cut)
    assert len(cut.udp.data) < len(data) // 2
    (whole,) = parse_capture(data).streams
    (stream,) = cut.streams
    assert summarise(stream.trace) == summarise(whole.trace)
    assert np.array_equal(stream.trace.size, whole.trace.size)
    assert stream.trace.payloads is not None
    assert int(stream.trace.payloads.captured[-1]) == 64 - 12


@pytest.mark.usefixtures("small_pieces")
def test_more_packets_than_are_kept_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pcap").write_bytes(pcap(rtp_stream("." * 200)))
    monkeypatch.setattr(gather, "MOST_DATAGRAMS", 100)
    with pytest.raises(InputError, match=r"more than 100 RTP packets.*tshark.*editcap"):
        read_capture(tmp_path / "a.pcap")


def test_sources_and_flows_beyond_count_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_SOURCES", 50)
    monkeypatch.setattr(link_layer, "MOST_FLOWS", 100)
    flood = [
        Datagram(START_NS + i, b"\x80\0" + struct.pack(">HII", i, i, i), (f"10.0.{i // 250}.{i % 250}", 4000))
        for i in range(300)
    ]
    call = rtp_stream("." * 20, start_ns=START_NS - 10**9)
    capture = parse_capture(pcap([*call, *flood]))
    assert [len(stream.trace) for stream in capture.streams] == [20]
    assert "201 packets of flows beyond the first" in details(capture)
    assert "100 sources of RTP-like packets" in details(capture)


SDP_FLOOD = """
import sys
from testing.trace.making import START_NS, Datagram, pcap
from earwitness.trace.capture import read_capture
if len(sys.argv) > 2:
    head = "INVITE sip:1@a SIP/2.0\\r\\nCall-ID: {}\\r\\nCSeq: 1 INVITE\\r\\n\\r\\nv=0\\r\\nc=IN IP4 10.8.0.2\\r\\n"
    with open(sys.argv[1], "wb") as file:
        file.write(pcap([]))
        for i in range(800):
            lines = (f"m=audio {1000 + j} RTP/AVP 0\\r\\na=rtpmap:{j % 128} x{i}-{j}/8000\\r\\n" for j in range(1200))
            file.write(pcap([Datagram(START_NS + i, (head.format(i) + "".join(lines)).encode()[:65_000])])[24:])
else:
    capture = read_capture(sys.argv[1])
    print(len(capture.sip), len(capture.sdp), *capture.problems, sep="|")
"""


@pytest.mark.timeout(120)
def test_a_flood_of_sdp_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", with_repository()["PYTHONPATH"])
    assert python(SDP_FLOOD, tmp_path / "sdp.pcap", "write").code == 0
    read = python(SDP_FLOOD, tmp_path / "sdp.pcap")
    assert read.code == 0, read.error
    assert read.peak_mib < 250
    messages, sections, *told = read.out.split("|")
    assert int(messages) > 200
    assert int(sections) == 4096
    assert "SIP messages after the first" in told[0]
    assert "audio descriptions in SDP beyond the first 4096" in told[1]


def test_equal_descriptions_are_one_value() -> None:
    body = "m=audio 4000 RTP/AVP 0\r\na=rtpmap:97 speex/8000\r\n"
    capture = parse_capture(pcap([invite(body, START_NS + i) for i in range(5)]))
    assert len({id(message.media) for message in capture.sip}) == 1
    assert len(capture.sdp) == 5


def test_a_message_longer_than_any_is_read_as_far_as_it_goes() -> None:
    many = "m=audio 4000 RTP/AVP " + "0 " * 30_000 + "\r\n"
    (message,) = parse_capture(pcap([invite(many)])).sip
    assert message.truncated
    assert len(message.media[0].payload_types) <= 128


@pytest.mark.timeout(60)
def test_many_sections_cost_what_they_hold() -> None:
    """Quadratic in the sections it took minutes."""
    packet = b"\x80\0\0\1\0\0\0\1\0\0\0\1"
    capture = parse_capture(pcapng([("raw", 6, [Datagram(START_NS, packet)])]) * 300_000)
    assert capture.packets == 300_000
    assert len(capture.link_types) == 300_000


def test_interfaces_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcapng_module, "MOST_INTERFACES", 100)
    one = block(1, struct.pack("<HHI", 101, 0, 0))
    capture = parse_capture(pcapng([("raw", 6, rtp_stream("...."))]) + one * 200)
    assert "more than 100 interfaces" in details(capture)
    assert len(capture.streams[0].trace) == 4


@pytest.mark.parametrize("resolution", [127, 0xFF, 19, 0x80 | 63])
@pytest.mark.parametrize("offset", [0, 2**63 - 1, -(2**63), 2**33 - 5, -(2**32)])
@pytest.mark.parametrize("ticks", [0, 1, 2**63, 2**64 - 1])
def test_times_that_cannot_be_are_left_out(resolution: int, offset: int, ticks: int) -> None:
    options = struct.pack("<HHBxxx", 9, 1, resolution) + struct.pack("<HHq", 14, 8, offset)
    frame = bytes(40)
    head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    data = pcapng([]) + block(1, struct.pack("<HHI", 101, 0, 0) + options) + block(6, head + frame)
    records = parse_records(np.frombuffer(data, dtype=np.uint8))
    assert (np.abs(records.time_ns) < 2**32 * 10**9 + 10**9).all()
    assert records.problems


def test_options_of_an_interface_have_an_end() -> None:
    long = block(1, struct.pack("<HHI", 101, 0, 0) + struct.pack("<HH", 1, 0) * 500_000)
    capture = parse_capture(pcapng([]) + long + pcapng([("raw", 6, rtp_stream("...."))]))
    assert len(capture.streams[0].trace) == 4


def test_damage_in_a_million_places_is_listed_to_a_bound() -> None:
    short = block(6, bytes(4)) * 3000
    capture = parse_capture(pcapng([("raw", 6, rtp_stream("...."))]) + short)
    assert len(capture.problems) == 1001
    assert "2000 more damaged places" in str(capture.problems[-1])


@pytest.mark.timeout(60)
def test_rtcp_packets_of_thousands_of_reports_have_an_end() -> None:
    other = Datagram(START_NS, b"\x80\xca\0\0" * 16_000)
    empty = Datagram(START_NS, b"\x80\xc9\0\1\0\0\0\1" * 8000)
    capture = parse_capture(pcap([other, empty] * 150))
    assert rtcp_round_trips(capture) == ()
