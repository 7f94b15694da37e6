"""A capture whose clock was set back has no packets out of order, and no delay of that length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear.hear import hear
from earwitness.ear.listen import codec_of_stream
from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.timing import summarise
from testing.trace.making import PHONE, SERVER, Datagram, pcap, rtp_stream, together

MS = 1_000_000
COUNT, AT = 400, 250


def call(jitter_ms: float) -> list[Datagram]:
    """Both directions of a call."""
    random = np.random.default_rng(3)
    late = random.uniform(0, max(jitter_ms, 1e-9), 2 * COUNT).tolist()
    there = rtp_stream("." * COUNT, delay_ms=lambda i: late[i])
    back = rtp_stream("." * COUNT, delay_ms=lambda i: 7 + late[COUNT + i], source=SERVER, destination=PHONE, ssrc=9)
    return together(there, back)


def set_back(sent: list[Datagram], *steps: tuple[int, float]) -> Capture:
    """The capture of these datagrams, in this order, with a clock that is set back by so many ms at each record."""
    back = [sum(ms for at, ms in steps if row >= at) for row in range(len(sent))]
    return parse_capture(
        pcap(
            [replace(one, time_ns=one.time_ns - round(ms * MS)) for one, ms in zip(sent, back, strict=True)],
            nanoseconds=True,
        )
    )


@pytest.mark.parametrize("back_ms", [100, 300, 2000, 30_000, 3_600_000])
@pytest.mark.parametrize("jitter_ms", [0, 8])
def test_a_clock_that_was_set_back_is_put_right_and_told(back_ms: float, jitter_ms: float) -> None:
    plain = parse_capture(pcap(call(jitter_ms), nanoseconds=True))
    found = set_back(call(jitter_ms), (AT, back_ms))
    assert len(found.streams) == 2
    for stream, as_sent in zip(found.streams, plain.streams, strict=True):
        timing, right = summarise(stream.trace), summarise(as_sent.trace)
        assert (timing.packets_received, timing.packets_lost, timing.packets_reordered) == (COUNT, 0, 0)
        assert (timing.sequence_restarts, timing.timestamp_jumps, timing.holds) == (0, 0, 0)
        assert timing.pdv_max_ms == pytest.approx(right.pdv_max_ms, abs=4)
        assert timing.duration_s == pytest.approx(right.duration_s, abs=0.01)
        assert [f"was set back once, by {back_ms / 1000:.1f}" in doubt for doubt in stream.doubts] == [True]
        heard = hear(stream.trace, codec_of_stream(stream), "fixed:60")
        assert heard.shares["played_ratio"] == 1.0


def test_each_step_back_is_put_right() -> None:
    found = set_back(call(2), (200, 500), (500, 3000))
    for stream in found.streams:
        timing = summarise(stream.trace)
        assert (timing.packets_reordered, timing.packets_lost) == (0, 0)
        assert timing.pdv_max_ms < 8
        assert "set back 2 times, by 3.50 s in all" in stream.doubts[0]


@pytest.mark.parametrize("early_ms", [60, 400])
def test_records_that_queues_swapped_are_sorted_and_no_step_of_the_clock(early_ms: float) -> None:
    sent = call(0)
    for at in range(50, 700, 90):
        sent[at] = replace(sent[at], time_ns=sent[at].time_ns - round(early_ms * MS))
    plain = parse_capture(pcap(sorted(sent, key=lambda one: one.time_ns)))
    found = parse_capture(pcap(sent))
    for stream, as_sorted in zip(found.streams, plain.streams, strict=True):
        assert stream.doubts == ()
        assert np.array_equal(stream.trace.arrived_ns, as_sorted.trace.arrived_ns)
        assert np.array_equal(stream.trace.sequence, as_sorted.trace.sequence)


def test_a_stream_that_ended_before_the_step_says_nothing() -> None:
    early = rtp_stream("." * 60, ssrc=5, source=("10.0.0.9", 7000), destination=("10.0.0.8", 7002))
    sent = together(call(0), early)
    found = set_back(sent, (600, 1000))
    assert {len(stream.trace): bool(stream.doubts) for stream in found.streams} == {COUNT: True, 60: False}
