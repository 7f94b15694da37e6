"""Breaks of a sender's numbering: recognised, told from the network's delays, and in no figure of time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earwitness.trace.encoding import Encoding
from earwitness.trace.model import LOST, UNKNOWN, Trace
from earwitness.trace.timeline import mended, timeline
from earwitness.trace.timing import Timing, summarise
from testing.trace.making import trace as made

MS = 1_000_000
N, AT = 200, 80
NUMBER = np.arange(N, dtype=np.int64)
AFTER = NUMBER >= AT
TIMES = ("jitter_", "gap_", "pdv_", "burst_gap_", "duration_", "pauses_")


def steady(delay_ms: NDArray[np.float64] | float = 30.0, packets: int = N) -> Trace:
    """A packet every 20 ms from a sender whose clock is unknown."""
    sent = 5_000_000_000 + np.arange(packets, dtype=np.int64) * 20 * MS
    delay = np.rint(np.broadcast_to(np.asarray(delay_ms, dtype=float), (packets,)) * MS).astype(np.int64)
    trace = made(sent, sent + delay)
    return replace(trace, sent_ns=np.full(packets, UNKNOWN, dtype=np.int64))


def longest_ms(timing: Timing) -> float:
    """The largest figure of time."""
    figures = [value for name, value in timing.to_dict().items() if name.startswith(TIMES) and name.endswith("_ms")]
    return float(np.nanmax([*figures, 1e3 * timing.duration_s, 1e3 * timing.pauses_total_s]))


def noise(seed: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(30.0, 38.0, N)


def test_a_whole_stream_is_left_as_it_is() -> None:
    trace = steady(noise())
    assert timeline(trace).whole
    assert mended(trace) is trace
    empty = trace.take(np.arange(0))
    assert timeline(empty).whole
    assert mended(empty) is empty


@pytest.mark.parametrize("seconds", [2.5, 60.0, 250_000.0, -3.0, -40_000.0])
def test_a_jump_of_the_timestamps_is_counted_and_is_no_delay(seconds: float) -> None:
    trace = steady(noise())
    leapt = replace(trace, timestamp=trace.timestamp + np.where(AFTER, round(seconds * 8000), 0))
    plain, found = summarise(trace), summarise(leapt)
    assert (found.timestamp_jumps, found.sequence_restarts, found.holds) == (1, 0, 0)
    assert found.jitter_max_ms == pytest.approx(plain.jitter_max_ms, abs=0.6)
    assert found.pdv_max_ms <= plain.pdv_max_ms + 1e-6
    assert found.packets_lost == 0
    assert "jump once" in timeline(leapt).notes[0]


@pytest.mark.parametrize("ms", [300, 1000, -500, -1500])
def test_a_small_jump_in_an_even_stream_is_a_jump(ms: int) -> None:
    trace = steady()
    leapt = replace(trace, timestamp=trace.timestamp + np.where(AFTER, ms * 8, 0) + 20_000)
    found = summarise(leapt)
    assert (found.timestamp_jumps, found.jitter_max_ms, found.pdv_max_ms) == (1, 0.0, 0.0)
    # Within a talkspurt, jitter does not hide it; at the beginning of one, the network may have done it.
    shaken = replace(leapt, arrived_ns=leapt.arrived_ns + np.rint(4 * noise() * MS).astype(np.int64))
    assert timeline(shaken).jumps == 1
    assert timeline(replace(shaken, marker=NUMBER == AT)).whole


def test_two_small_jumps_close_together_are_two() -> None:
    trace = steady()
    twice = replace(trace, timestamp=trace.timestamp + np.where(AFTER, 8000, 0) + np.where(NUMBER >= AT + 5, 8000, 0))
    assert (summarise(twice).timestamp_jumps, summarise(twice).pdv_max_ms) == (2, 0.0)


def test_a_hold_of_a_second_and_a_half_in_an_even_stream_is_a_hold() -> None:
    trace = steady()
    held = trace.with_arrivals(trace.arrived_ns + np.where(AFTER, 1500 * MS, 0))
    assert (summarise(held).holds, summarise(held).pdv_max_ms) == (1, 0.0)
    rerouted = trace.with_arrivals(trace.arrived_ns + np.where(AFTER, 400 * MS, 0))
    assert summarise(rerouted).pdv_max_ms == 400.0


def test_packets_lost_at_a_jump_are_lost() -> None:
    trace = steady()
    leapt = replace(trace, timestamp=trace.timestamp + np.where(AFTER, 2_000_000_000, 0))
    found = summarise(leapt.take((NUMBER < AT) | (NUMBER >= AT + 5)))
    assert (found.timestamp_jumps, found.sequence_restarts, found.packets_lost) == (1, 0, 5)


@pytest.mark.parametrize("begin", [0, 500, 20_000])
def test_a_restart_of_all_numbering_is_counted_and_is_no_loss(begin: int) -> None:
    trace = steady(noise())
    moved = replace(
        trace,
        sequence=np.where(AFTER, 0x10000 + begin + NUMBER - AT, trace.sequence),
        timestamp=np.where(AFTER, 2**31 + (NUMBER - AT) * 160, trace.timestamp),
    )
    found = summarise(moved)
    assert (found.packets_received, found.packets_lost, found.sequence_restarts) == (N, 0, 1)
    assert found.pdv_max_ms < 9.0
    whole = mended(moved)
    assert np.array_equal(np.diff(whole.sequence), np.ones(N - 1))
    assert np.array_equal(np.diff(whole.timestamp), np.full(N - 1, 160))


def test_sequence_numbers_alone_may_begin_anew() -> None:
    trace = steady(noise())
    found = summarise(replace(trace, sequence=trace.sequence + np.where(AFTER, 30_000, 0)))
    assert (found.packets_lost, found.sequence_restarts) == (0, 1)


@pytest.mark.parametrize("seconds", [3, 60, 3600])
def test_a_hold_is_a_pause(seconds: int) -> None:
    trace = steady(noise())
    held = trace.with_arrivals(trace.arrived_ns + np.where(AFTER, seconds * 1000 * MS, 0))
    found = summarise(held)
    assert (found.holds, found.timestamp_jumps, found.talkspurts) == (1, 0, 2)
    assert found.held_s == pytest.approx(seconds, abs=0.02)
    assert found.pauses_total_s == pytest.approx(seconds, abs=0.05)
    assert found.jitter_max_ms < 9.0
    assert found.gap_max_ms < 30.0
    whole = mended(held)
    assert whole.timestamp[AT] - whole.timestamp[AT - 1] == pytest.approx(seconds * 8000 + 160, abs=160)


@pytest.mark.parametrize("stall_ms", [2500, 5000])
def test_a_stall_of_the_network_is_delay_and_no_hold(stall_ms: int) -> None:
    """What was sent during a stall of TCP follows in a burst, however long the stall."""
    delay = np.maximum(30.0, np.where(AFTER, stall_ms - (NUMBER - AT) * 20.0, 0.0))
    trace = steady(delay)
    assert timeline(trace).whole
    assert summarise(trace).pdv_max_ms == pytest.approx(stall_ms - 30)


def test_stalls_one_after_the_other_are_delay() -> None:
    """The network lets a burst through between two stalls, and never catches up."""
    delay = np.full(N, 30.0)
    for at in (60, 90, 120):
        later = at <= NUMBER
        delay[later] = np.maximum(delay[later], 3000 * (at / 30 - 1) - (NUMBER[later] - at) * 20.0 + 600)
    assert timeline(steady(delay)).whole


def test_known_sending_times_decide() -> None:
    """Seen at the receiver alone, a network that delays everything from now on looks like a hold of the sender."""
    late = steady(np.where(AFTER, 4030.0, 30.0))
    assert timeline(late).holds == 1
    sent = 5_000_000_000 + NUMBER * 20 * MS
    known = replace(late, sent_ns=sent)
    assert timeline(known).whole
    assert summarise(known).pdv_max_ms == pytest.approx(4000)
    held = replace(known, sent_ns=sent + np.where(AFTER, 4000 * MS, 0))
    assert timeline(held).holds == 1


def test_one_packet_with_a_foreign_timestamp_is_left_out() -> None:
    trace = steady(noise())
    one = replace(trace, timestamp=trace.timestamp + np.where(NUMBER == AT, 10**9, 0))
    found = summarise(one)
    assert (found.timestamp_jumps, found.packets_received, found.packets_lost) == (1, N, 0)
    assert found.pdv_max_ms < 9.0
    assert np.array_equal(np.diff(mended(one).timestamp), np.full(N - 1, 160))


def test_packets_that_never_arrived_move_with_those_before_them() -> None:
    trace = steady()
    leapt = replace(trace, timestamp=trace.timestamp + np.where(AFTER, 2**30, 0))
    gone = leapt.with_arrivals(np.where(np.isin(NUMBER, (20, 120)), LOST, leapt.arrived_ns))
    whole = mended(gone)
    assert np.array_equal(np.sort(whole.timestamp), trace.timestamp)


def test_events_and_second_copies_make_no_jitter() -> None:
    trace = steady(noise())
    event = (NUMBER >= AT) & (NUMBER < AT + 10)
    pressed = replace(
        trace,
        payload_type=np.where(event, 101, 0).astype(np.uint8),
        timestamp=np.where(event, AT * 160, trace.timestamp),
        formats={101: Encoding("telephone-event", 8000)},
    )
    without = summarise(pressed)
    assert without.jitter_max_ms < summarise(trace).jitter_max_ms + 0.6
    assert without.pauses_total_s == 0.0
    twice = np.repeat(NUMBER, 2)
    doubled = summarise(trace.take(twice))
    assert doubled.packets_duplicate == N
    assert doubled.jitter_mean_ms == pytest.approx(summarise(trace).jitter_mean_ms)


Shift = st.tuples(st.integers(1, N - 1), st.integers(-(2**40), 2**40), st.integers(0, 2**17), st.integers(0, 7_200_000))


@given(st.lists(Shift, max_size=6), st.integers(0, 2**32), st.integers(20, N))
@settings(max_examples=200, deadline=None)
def test_no_figure_of_time_is_longer_than_the_capture(
    breaks: list[tuple[int, int, int, int]], seed: int, packets: int
) -> None:
    trace = steady(noise(seed))
    sequence, timestamp, arrived = trace.sequence.copy(), trace.timestamp.copy(), trace.arrived_ns.copy()
    for at, ticks, numbers, hold_ms in breaks:
        timestamp[at:] += ticks
        sequence[at:] += numbers
        arrived[at:] += hold_ms * MS
    broken = replace(trace, sequence=sequence, timestamp=timestamp - timestamp.min(), arrived_ns=arrived).take(
        packets > NUMBER
    )
    found = summarise(broken)
    span_ms = (int(broken.arrived_ns[-1]) - int(broken.arrived_ns[0])) / 1e6
    assert longest_ms(found) <= span_ms + 1e-6
    assert found.packets_received == packets
