"""The pcap container: both byte orders, both resolutions, and every way to be broken."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.trace.capture import read_capture
from earwitness.trace.container import parse_records
from earwitness.trace.pcap import _chained, _Walk, _Walked
from earwitness.trace.problem import ProblemKind
from earwitness.trace.records import Records
from earwitness.trace.tally import Tally
from testing.trace.making import START_NS, pcap, rtp_stream


def read(data: bytes, **options: bool) -> Records:
    return parse_records(np.frombuffer(data, dtype=np.uint8), "made", **options)


def kinds(records: Records) -> list[ProblemKind]:
    return [problem.kind for problem in records.problems]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_every_byte_order_and_resolution_reads_the_same(order: str, nanoseconds: bool) -> None:
    stream = rtp_stream("....x..", delay_ms=lambda i: i * 0.001234)
    records = read(pcap(stream, order=order, nanoseconds=nanoseconds))
    unit = 1 if nanoseconds else 1000
    assert records.time_ns.tolist() == [d.time_ns // unit * unit for d in stream]
    assert records.captured.tolist() == [200] * 6
    assert records.link_types == (101,)
    assert not records.problems


def test_the_snap_length_cuts_and_the_wire_length_stays() -> None:
    records = read(pcap(rtp_stream("..."), snap_length=85))
    assert records.captured.tolist() == [85] * 3
    assert records.length.tolist() == [200] * 3


def test_a_header_without_packets_says_so() -> None:
    records = read(pcap([]))
    assert len(records) == 0
    assert kinds(records) == [ProblemKind.EMPTY]


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 100, 215])
def test_a_file_that_ends_within_a_packet_keeps_what_was_before(cut: int) -> None:
    data = pcap(rtp_stream("...."))
    records = read(data[: 24 + 3 * 216 + cut])
    assert len(records) == 3
    assert kinds(records) == [ProblemKind.TRUNCATED]
    assert records.problems[0].offset == 24 + 3 * 216


def test_a_length_that_cannot_be_ends_the_reading_with_its_place() -> None:
    data = bytearray(pcap(rtp_stream("....")))
    struct.pack_into("<I", data, 24 + 2 * 216 + 8, 4_784_130)
    records = read(bytes(data))
    assert len(records) == 2
    assert kinds(records) == [ProblemKind.CORRUPT]
    assert records.problems[0].offset == 24 + 2 * 216


def test_reading_on_after_damage_is_asked_for_and_counted() -> None:
    data = bytearray(pcap(rtp_stream("." * 20)))
    data[24 + 5 * 216 + 3 : 24 + 6 * 216 + 40] = b"\xff" * 253
    assert len(read(bytes(data))) == 5
    records = read(bytes(data), resume=True)
    assert len(records) == 5 + 13
    assert kinds(records) == [ProblemKind.CORRUPT]
    assert "missing here" in records.problems[0].detail
    assert records.time_ns[5] == START_NS + 7 * 20_000_000


def test_a_packet_said_to_be_shorter_than_what_was_kept() -> None:
    data = bytearray(pcap(rtp_stream("..")))
    struct.pack_into("<I", data, 24 + 12, 3)
    records = read(bytes(data))
    assert records.length.tolist() == [200, 200]
    assert kinds(records) == [ProblemKind.BAD_LENGTH]


def test_a_fraction_of_a_second_beyond_a_second_is_left_out_and_said() -> None:
    data = bytearray(pcap(rtp_stream("...")))
    struct.pack_into("<I", data, 24 + 4, 1_000_000)
    records = read(bytes(data))
    assert len(records) == 2
    assert kinds(records) == [ProblemKind.BAD_TIME]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"RIFF....WAVEfmt ", "is not a capture"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "gunzip"),
        (pcap([])[:20], "ends within its header"),
        (b"\xa1\xb2\xcd\x34" + bytes(40), "modified pcap"),
    ],
)
def test_what_is_no_capture_is_refused_with_a_remedy(data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(data)


def test_a_file_that_cannot_be_opened(tmp_path: object) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_capture(f"{tmp_path}/absent.pcap")
    with pytest.raises(InputError, match="directory"):
        read_capture(str(tmp_path))


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_anything_after_a_header_reads_or_says_why(body: bytes) -> None:
    for resume in (False, True):
        records = read(pcap([]) + body, resume=resume)
        assert (records.start + records.captured <= len(records.data)).all()
        assert len(records) or records.problems


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.sampled_from("<>"), st.booleans())
@settings(max_examples=150, deadline=None)
def test_guessed_and_proven_records_are_a_walks(sizes: list[int], order: str, nanoseconds: bool) -> None:
    frames = [(START_NS + i * 10**9, bytes([i]) * size) for i, size in enumerate(sizes)]
    data = np.frombuffer(pcap(frames, order=order, nanoseconds=nanoseconds), dtype=np.uint8)
    tally = Tally()
    walk = _Walk(data, 0, order, 262_144, 1000, resume=False, last=True, tally=tally)
    walked, used, ended = walk.run(24, _Walked())
    assert (len(tally), used, ended) == (0, len(data), False)
    chained = _chained(data, order, 262_144)
    assert chained is not None
    assert chained[0].tolist() == walked.tolist()
    assert len(walked) == len(sizes)
    assert _chained(data[:-1], order, 262_144) is None
