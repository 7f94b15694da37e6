from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.phone.receiver_statistics import ReceiverStatistics
from earwitness.phone.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    compound,
    middle_of,
    ntp_from_ns,
    parse_compound,
)
from earwitness.phone.rtcp_session import RtcpSession, SentSoFar, report_interval_s
from earwitness.trace.rtp import MalformedPacket

u32 = st.integers(0, 0xFFFFFFFF)
blocks = st.lists(
    st.builds(ReportBlock, u32, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), u32, u32, u32, u32),
    max_size=4,
).map(tuple)
text = st.text(st.characters(codec="ascii", min_codepoint=33), max_size=60)
packets = (
    st.builds(SenderReport, u32, st.integers(0, 2**64 - 1), u32, u32, u32, blocks)
    | st.builds(ReceiverReport, u32, blocks)
    | st.builds(SourceDescription, u32, text)
    | st.builds(Goodbye, st.lists(u32, max_size=3).map(tuple), text)
)


@given(st.lists(packets, min_size=1, max_size=4))
def test_round_trip(sent: list[RtcpPacket]) -> None:
    assert parse_compound(compound(sent)) == sent


@given(st.binary(max_size=120))
def test_any_bytes_are_rtcp_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(MalformedPacket):
        assert parse_compound(data)


@given(st.lists(packets, min_size=1, max_size=3), st.data())
def test_bytes_changed_on_the_way_never_crash(sent: list[RtcpPacket], data: st.DataObject) -> None:
    wire = bytearray(compound(sent))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedPacket):
        parse_compound(bytes(wire)[: data.draw(st.integers(0, len(wire)))])


def test_ntp_time_of_the_unix_epoch() -> None:
    assert ntp_from_ns(0) >> 32 == 2_208_988_800
    assert ntp_from_ns(500_000_000) & 0xFFFFFFFF == 1 << 31
    assert middle_of(0x11112222_33334444) == 0x22223333


@given(st.integers(0, 2_000_000_000), st.integers(0, 5_000_000_000), st.integers(0, 2**31))
def test_the_round_trip_is_what_the_network_took(there_ns: int, held_ns: int, start: int) -> None:
    """SR out, `there_ns` on the way, held by the far end, `there_ns` back: twice the way, to 1/65,536 s a reading."""
    epoch = 1_800_000_000 * 10**9 + start
    us = RtcpSession(1, "us", 8000, Random(1))
    them = RtcpSession(2, "them", 8000, Random(2))
    heard = ReceiverStatistics(1, 8000)
    heard.receive(10, 0, epoch)
    report = us.report(epoch, SentSoFar(0, 50, 8000), None)
    them.receive(report, epoch + there_ns)
    answer = them.report(epoch + there_ns + held_ns, SentSoFar(0, 50, 8000), heard)
    us.receive(answer, epoch + 2 * there_ns + held_ns)
    assert us.round_trips_ms == pytest.approx([2 * there_ns / 1e6], abs=0.05)


def test_a_block_about_somebody_else_is_not_ours() -> None:
    us = RtcpSession(1, "us", 8000, Random(1))
    us.receive(bytes(ReceiverReport(2, (ReportBlock(99, 128, 5, 6, 7, 1000, 0),))), 10**18)
    assert us.round_trips_ms == []
    assert us.remote_view is None


@given(st.integers(0, 2**31))
def test_the_interval_is_random_about_its_mean_and_keeps_to_the_bandwidth(seed: int) -> None:
    random = Random(seed)
    intervals = [report_interval_s(random, 1.0, 120, 80_000) for _ in range(200)]
    assert min(intervals) >= 0.5 / 1.2183
    assert max(intervals) <= 1.5 / 1.2182
    narrow = [report_interval_s(random, 1.0, 120, 1_000) for _ in range(200)]
    assert min(narrow) > 10  # 2 x 960 bit at 5 % of 1 kbit/s is 38 s on average


def lossy(sequences: list[int]) -> ReceiverStatistics:
    reception = ReceiverStatistics(7, 8000)
    for count, sequence in enumerate(sequences):
        reception.receive(sequence & 0xFFFF, sequence * 160, count * 20_000_000)
    return reception


@given(st.integers(0, 0xFFFF), st.sets(st.integers(1, 298), max_size=60))
def test_loss_is_counted_over_any_wrap(first: int, missing: set[int]) -> None:
    reception = lossy([first + index for index in range(300) if index not in missing])
    assert reception.lost == len(missing)
    assert reception.expected == 300
    assert reception.fraction_lost() == len(missing) * 256 // 300
    assert reception.fraction_lost() == 0


def test_duplicates_and_reordering_are_not_loss() -> None:
    reception = lossy([65534, 65535, 65537, 65536, 65538, 65538])
    assert (reception.lost, reception.packets) == (-1, 6)


def test_jitter_as_the_rfc_has_it() -> None:
    reception = ReceiverStatistics(7, 8000)
    expected, transit = 0.0, None
    for index, late_ms in enumerate([0, 5, 0, 30, 2, 2, 11]):
        reception.receive(index, index * 160, index * 20_000_000 + late_ms * 1_000_000)
        if transit is not None:
            expected += (abs(late_ms - transit) - expected) / 16
        transit = late_ms
    assert reception.jitter_ms == pytest.approx(expected)
