"""What RTCP tells: round trips, less what was waited, and what the receiving end received."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.trace.capture import parse_capture
from earwitness.trace.rtcp import missed_by_capture, round_trips_ms, rtcp_round_trips
from testing.trace.making import START_NS, Datagram, pcap, rtp_stream

PHONE, SERVER = ("10.8.0.2", 4001), ("10.8.0.1", 30001)


def report(time_ms: float, source: tuple[str, int], *, ntp: int = 0, echo: tuple[int, int] | None = None) -> Datagram:
    """A sender report at this time, with a report block where it answers one (LSR, DLSR in ms)."""
    blocks = b"" if echo is None else struct.pack(">IIIIII", 1, 0, 0, 0, echo[0], echo[1] * 65536 // 1000)
    count = 0 if echo is None else 1
    head = struct.pack(">BBHIQIII", 0x80 | count, 200, 6 + 6 * count, 7, ntp << 16, 0, 0, 0)
    destination = SERVER if source == PHONE else PHONE
    return Datagram(START_NS + round(time_ms * 1e6), head + blocks, source, destination)


def trips(*datagrams: Datagram, snap_length: int = 262_144) -> list[tuple[str, float]]:
    capture = parse_capture(pcap(list(datagrams), snap_length=snap_length))
    return [(trip.answered_by, round(trip.rtt_ms, 1)) for trip in rtcp_round_trips(capture)]


def test_a_round_trip_is_the_time_to_the_answer_less_what_it_waited() -> None:
    asked = report(0, PHONE, ntp=0xABCD1234)
    assert trips(asked, report(950, SERVER, ntp=5, echo=(0xABCD1234, 700))) == [("10.8.0.1", 250.0)]


def test_the_studys_snap_length_keeps_enough() -> None:
    asked = report(0, PHONE, ntp=77)
    assert trips(asked, report(900, SERVER, echo=(77, 500)), snap_length=85) == [("10.8.0.1", 400.0)]


def test_answers_to_what_was_not_seen_and_impossible_ones_do_not_count() -> None:
    asked = report(0, PHONE, ntp=77)
    assert trips(asked, report(900, SERVER, echo=(78, 500)), report(100, SERVER, echo=(77, 5000))) == []


def test_half_a_round_trip_is_called_that() -> None:
    capture = parse_capture(pcap([report(0, PHONE, ntp=77), report(900, SERVER, echo=(77, 500))]))
    assert rtcp_round_trips(capture)[0].half_rtt_ms == pytest.approx(200.0, abs=0.1)


def received(lost: int, highest: int, *, ssrc: int = 0x1234ABCD) -> Datagram:
    """A receiver report of the phone, a second after all."""
    block = struct.pack(">IIIIII", ssrc, lost & 0xFFFFFF, highest, 0, 0, 0)
    return Datagram(START_NS + 10**10, struct.pack(">BBHI", 0x81, 201, 7, 9) + block, PHONE, SERVER)


@pytest.mark.parametrize("first", [1000, 65_530])
@pytest.mark.parametrize(
    ("pattern", "lost", "missed"),
    [
        ("....................", 0, 0.0),
        ("......xxxx..........", 4, 0.0),  # Lost before the phone and the capture.
        ("......xxxx..........", 0, 0.2),  # The phone heard them, the capture did not.
        ("......xxxx..........", 2, 2 / 18),
        ("....dd..............", -2, 0.0),  # Two came twice, which counts as received.
    ],
)
def test_what_the_phone_received_and_the_capture_lacks(first: int, pattern: str, lost: int, missed: float) -> None:
    stream = rtp_stream(pattern, sequence=first)
    capture = parse_capture(pcap([*stream, received(lost, first + 19)]))
    assert missed_by_capture(capture, capture.streams[0]) == pytest.approx(missed)


def test_without_a_report_about_the_stream_nothing_is_known_to_be_missed() -> None:
    capture = parse_capture(pcap([*rtp_stream("....x....."), received(0, 1009, ssrc=5)]))
    assert missed_by_capture(capture, capture.streams[0]) is None


@given(st.lists(st.binary(max_size=90).map(lambda b: b"\x81\xc8" + b), max_size=6))
def test_malformed_reports_never_raise(payloads: list[bytes]) -> None:
    made = [Datagram(START_NS, payload, PHONE, SERVER) for payload in payloads]
    assert isinstance(rtcp_round_trips(parse_capture(pcap(made))), tuple)


def test_each_stream_has_the_round_trips_of_its_own_rtcp() -> None:
    """Two calls between the same hosts: only the first one's sender answers at its next port."""
    first = rtp_stream("." * 60, ssrc=1, source=("10.8.0.1", 30000), destination=("10.8.0.2", 4000))
    second = rtp_stream("." * 50, ssrc=2, source=("10.8.0.1", 31000), destination=("10.8.0.2", 5000))
    answer = report(950, SERVER, ntp=5, echo=(77, 700))
    capture = parse_capture(pcap(sorted([*first, *second, report(0, PHONE, ntp=77), answer], key=lambda d: d.time_ns)))
    told = {stream.ssrc: round_trips_ms(capture, stream).round(1).tolist() for stream in capture.streams}
    assert told == {1: [250.0], 2: []}


def test_round_trips_from_a_port_of_no_stream_count_but_not_those_of_another_time() -> None:
    stream = rtp_stream("." * 60, source=("10.8.0.1", 20848), destination=("10.8.0.2", 4000))
    for late, found in ((0, [250.0]), (60_000, [])):
        moved = [report(late, PHONE, ntp=77), report(late + 950, SERVER, ntp=5, echo=(77, 700))]
        capture = parse_capture(pcap(sorted([*stream, *moved], key=lambda d: d.time_ns)))
        assert round_trips_ms(capture, capture.streams[0]).round(1).tolist() == found
