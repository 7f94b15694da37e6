"""Generated streams against their construction, and against tshark where tshark is right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.timing import summarise
from earwitness.trace.wireshark import wireshark_figures
from testing.trace import grid, tshark
from testing.trace.making import pcap

TSHARK_JITTER_IS_WRONG = {"jump", "hold"}
"""Events whose break tshark takes for jitter."""
TSHARK_LOSS_IS_WRONG = {"restart", "duplicate"}
"""Events at which tshark counts the distance of a restart as loss, and copies as negative loss."""


@cache
def captured(part: int) -> tuple[Sequence[grid.Case], bytes, Capture]:
    """Half of the cases in one capture, because a capture has at most 256 streams."""
    some = grid.cases()[part::2]
    frames = sorted((frame for case in some for frame in case.frames()), key=lambda frame: frame[0])
    data = pcap(frames, link="ethernet", nanoseconds=True)
    return some, data, parse_capture(data)


def test_the_grid_covers_the_product() -> None:
    found = grid.cases()
    assert {(case.carrier, case.event) for case in found} == set(product(grid.CARRIED, grid.EVENTS))
    assert len(found) == sum(len(codec.packet_times_ms) for codec in grid.CODECS) * len(grid.EVENTS) >= 100
    assert len({(case.codec, case.packet_ms, case.event) for case in found}) == len(found)
    assert sorted(case.number for case in found) == list(range(len(found)))


def test_every_event_changes_the_stream() -> None:
    """No case is another one under a second name."""
    for case in grid.cases():
        as_plain = grid.made(case.number, case.codec, case.packet_ms, "plain")
        assert (case.datagrams == as_plain.datagrams) == (case.event == "plain"), case.name
        types = {RtpPacket.parse(each.payload).payload_type for each in case.datagrams}
        assert len(types) == (2 if case.event in ("switch", "dtmf") else 1), case.name


@pytest.mark.parametrize("part", [0, 1])
def test_every_case_is_what_it_was_made_of(part: int) -> None:
    some, _, capture = captured(part)
    streams = {stream.ssrc: stream for stream in capture.streams}
    assert len(streams) == len(some)
    for case in some:
        stream = streams[case.ssrc]
        found = summarise(stream.trace)
        happened = (found.sequence_restarts, found.timestamp_jumps, found.holds)
        assert happened == tuple(int(case.event == event) for event in ("restart", "jump", "hold")), case.name
        assert (found.packets_lost, found.packets_duplicate) == (case.lost, case.duplicates), case.name
        assert found.talkspurts == (2 if case.event in ("pause", "hold") else 1), case.name
        assert (found.clock_rate, found.packet_ms) == (case.codec.clock_rate, case.packet_ms), case.name
        series = case.jitter_ms()
        assert found.jitter_max_ms == pytest.approx(max(series), abs=1e-3), case.name
        assert found.jitter_final_units == pytest.approx(series[-1] * found.clock_rate / 1e3, abs=2), case.name
        assert found.pdv_max_ms == pytest.approx(case.variation_ms(), abs=1e-3), case.name


@pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
@pytest.mark.parametrize("part", [0, 1])
def test_every_case_is_what_tshark_says_where_tshark_is_right(part: int, tmp_path: Path) -> None:
    some, data, capture = captured(part)
    path = tmp_path / "grid.pcap"
    path.write_bytes(data)
    theirs = tshark.streams(path, port=grid.PORT)
    streams = {stream.ssrc: stream for stream in capture.streams}
    for case in some:
        stream = streams[case.ssrc]
        ours = tshark.printed(wireshark_figures(stream.trace, capture.started_ns))
        wrong = case.event in TSHARK_JITTER_IS_WRONG
        told = theirs[stream.flow.source, stream.ssrc]
        assert ours[:6] == told[:6], case.name
        assert (ours[6:] == told[6:]) != wrong, case.name
        assert (int(told[1]) == case.lost) != (case.event in TSHARK_LOSS_IS_WRONG), case.name
