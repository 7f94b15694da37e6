"""The pcapng container: interfaces, resolutions, sections, and damage."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.trace.capture import parse_capture
from earwitness.trace.container import parse_records
from earwitness.trace.problem import ProblemKind
from earwitness.trace.records import Records
from testing.trace.making import START_NS, block, frames, pcapng, rtp_stream


def read(data: bytes) -> Records:
    return parse_records(np.frombuffer(data, dtype=np.uint8), "made")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("resolution", "unit"), [(6, 1000), (9, 1), (3, 1_000_000), (10, 1), (0x80 | 30, 1)])
def test_times_at_every_resolution(order: str, resolution: int, unit: int) -> None:
    stream = rtp_stream(".....", delay_ms=lambda i: i * 0.777001)
    records = read(pcapng([("raw", resolution, stream)], order=order))
    expected = np.array([d.time_ns // unit * unit for d in stream])
    assert np.abs(records.time_ns - expected).max() <= 1
    assert not records.problems


def test_interfaces_of_different_link_layers_and_clocks_make_one_capture() -> None:
    one, other = rtp_stream("....", ssrc=1), rtp_stream("...", ssrc=2, start_ns=START_NS + 3_000_000)
    capture = parse_capture(pcapng([("ethernet", 6, one), ("cooked2", 9, other)]))
    assert capture.link_types == (1, 276)
    assert [(stream.ssrc, len(stream.trace)) for stream in capture.streams] == [(1, 4), (2, 3)]


def test_a_second_section_may_have_another_byte_order_and_interfaces() -> None:
    first, second = rtp_stream("...."), rtp_stream("....", sequence=1004, start_ns=START_NS + 80_000_000, timestamp=800)
    data = pcapng([("raw", 6, first)]) + pcapng([("ethernet", 9, second)], order=">")
    (stream,) = parse_capture(data).streams
    assert stream.trace.sequence.tolist() == list(range(1000, 1008))


def test_packets_without_a_time_are_left_out_and_counted() -> None:
    frame = frames(rtp_stream("."))[0][1]
    data = pcapng([("raw", 6, rtp_stream("..."))]) + block(3, struct.pack("<I", len(frame)) + frame)
    records = read(data)
    assert len(records) == 3
    assert [p.kind for p in records.problems] == [ProblemKind.BAD_TIME]


def test_the_obsolete_packet_block_is_read() -> None:
    frame = frames(rtp_stream("."))[0][1]
    ticks = START_NS // 1000
    head = struct.pack("<HHIIII", 0, 0xFFFF, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    records = read(pcapng([("raw", 6, [])]) + block(2, head + frame))
    assert records.time_ns.tolist() == [START_NS // 1000 * 1000]


def test_a_packet_of_an_interface_that_was_never_described() -> None:
    frame = frames(rtp_stream("."))[0][1]
    data = pcapng([("raw", 6, rtp_stream(".."))]) + block(6, struct.pack("<IIIII", 9, 0, 0, 40, 40) + frame)
    records = read(data)
    assert len(records) == 2
    assert records.problems[0].kind == ProblemKind.CORRUPT


@pytest.mark.parametrize("cut", [4, 11, 12, 30, 200])
def test_a_file_that_ends_within_a_block(cut: int) -> None:
    whole = pcapng([("raw", 6, rtp_stream("..."))])
    records = read(whole[: -(232 - cut)])
    assert len(records) == 2
    assert [p.kind for p in records.problems] == [ProblemKind.TRUNCATED]


@given(st.binary(max_size=300), st.integers(0, 600), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_damage_anywhere_reads_or_says_why(tail: bytes, place: int, value: int) -> None:
    data = bytearray(pcapng([("raw", 6, rtp_stream(".."))]) + tail)
    data[12 + place % (len(data) - 12)] = value
    records = read(bytes(data))
    assert (records.start >= 0).all()
    assert (records.start + records.captured <= len(data)).all()
