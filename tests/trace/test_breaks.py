"""Holds, stalls, queues and leaps told apart, in streams that come in clumps or with pauses."""

from __future__ import annotations

import time

import numpy as np
import pytest

from earwitness.trace.model import Trace
from earwitness.trace.series import arrivals
from earwitness.trace.timeline import timeline
from earwitness.trace.timing import summarise
from testing.trace.numbering import received

NUMBER = np.arange(600)


@pytest.mark.parametrize("clump", [2, 3, 5, 8])
@pytest.mark.parametrize("seconds", [3, 30])
def test_a_hold_is_seen_though_packets_come_in_clumps(clump: int, seconds: int) -> None:
    """As over TCP and Tor."""
    sent = NUMBER * 20 + np.where(NUMBER >= 250, seconds * 1000, 0)
    came = np.ceil(sent / (20 * clump)) * 20 * clump + NUMBER % clump * 0.2
    trace = received(NUMBER, NUMBER * 160, came)
    found = summarise(trace)
    assert (found.holds, found.timestamp_jumps, found.talkspurts) == (1, 0, 2)
    assert found.held_s == pytest.approx(seconds, abs=0.02 * clump + 1e-9)
    assert found.pdv_max_ms < 20 * clump + 1


@pytest.mark.parametrize(
    ("packets", "drain_ms"), [(600, 1), (600, 8), (600, 13), (600, 16), (600, 17.5), (150, 1), (150, 8), (150, 13)]
)
def test_a_stall_is_delay_however_slowly_its_queue_drains(packets: int, drain_ms: float) -> None:
    came, free = [], 0.0
    for sent in range(0, 20 * packets, 20):
        came.append(max(float(sent), free, 4500.0 if 2000 <= sent < 4500 else 0.0))
        free = came[-1] + drain_ms
    number = NUMBER[:packets]
    found = summarise(received(number, number * 160, came))
    assert (found.holds, found.timestamp_jumps) == (0, 0)
    assert found.pdv_max_ms == pytest.approx(2500)


@pytest.mark.parametrize("shorter_ms", [130, 400, 1000, 1900])
@pytest.mark.parametrize("overtaken", [True, False], ids=["overtaken", "lost"])
def test_a_shorter_route_is_no_leap_of_the_timestamps(shorter_ms: int, overtaken: bool) -> None:
    """What was on its way comes after what took the new route, or never."""
    came = NUMBER * 20 + np.where(NUMBER < 250, float(shorter_ms), 0.0)
    kept = NUMBER[(250 - shorter_ms // 20 > NUMBER) | (NUMBER >= 250) | overtaken]
    order = kept[np.argsort(came[kept], kind="stable")]
    found = summarise(received(order, order * 160, came[order]))
    assert (found.timestamp_jumps, found.holds, found.sequence_restarts) == (0, 0, 0)
    assert found.packets_lost == len(NUMBER) - len(kept)
    assert found.pdv_max_ms == pytest.approx(shorter_ms)


def spurts(delays_ms: tuple[float, ...], jitter_ms: tuple[float, ...], *, marked: bool, pause_ms: int) -> Trace:
    """Talkspurts of 100 packets with pauses between them, each with its delay."""
    chance = np.random.default_rng(1)
    number = np.arange(100 * len(delays_ms))
    spurt = number // 100
    sent = number * 20 + spurt * pause_ms
    delay = np.array(delays_ms)[spurt] + chance.uniform(-1, 1, len(number)) * np.array(jitter_ms)[spurt]
    return received(number, sent * 8, sent + delay, marker=(number % 100 == 0) & marked)


@pytest.mark.parametrize(("jitter_ms", "marked"), [((40, 10, 10), False), ((3, 3, 3), True), ((3, 3, 3), False)])
@pytest.mark.parametrize(("queue_ms", "pause_ms"), [(350, 2000), (350, 400), (2600, 6000), (4000, 8000)])
def test_a_queue_that_drains_during_a_pause_was_delay(
    jitter_ms: tuple[float, ...], marked: bool, queue_ms: int, pause_ms: int
) -> None:
    found = summarise(spurts((queue_ms, 50, 50), jitter_ms, marked=marked, pause_ms=pause_ms))
    assert (found.timestamp_jumps, found.sequence_restarts, found.holds) == (0, 0, 0)
    assert found.pdv_max_ms == pytest.approx(queue_ms - 50, abs=jitter_ms[0] + jitter_ms[1])


@pytest.mark.parametrize("leap_ms", [15_000, 3_600_000])
def test_no_queue_is_as_long_as_a_leap_in_a_pause(leap_ms: int) -> None:
    trace = spurts((leap_ms, 50, 50), (3, 3, 3), marked=True, pause_ms=leap_ms + 20_000)
    found = summarise(trace)
    assert (found.timestamp_jumps, found.pdv_max_ms < 10) == (1, True)


@pytest.mark.parametrize("holds", [10, 1200])
def test_a_clock_that_stands_still_in_every_pause_is_held_in_every_pause(holds: int) -> None:
    number = np.arange(5 * (holds + 1))
    trace = received(number, number * 160, number * 20 + number // 5 * 3000, marker=number % 5 == 0)
    found = summarise(trace)
    assert (found.holds, found.timestamp_jumps) == (holds, 0)
    assert found.held_s == pytest.approx(3 * holds)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_hostile_stream_costs_time_in_proportion_to_its_length(every: int) -> None:
    def seconds(packets: int) -> float:
        number = np.arange(packets)
        trace = received(number, number * 160 + number // every % 2 * 80_000, number * 20)
        began = time.process_time()
        timeline(trace)
        return time.process_time() - began

    short = min(seconds(5_000) for _ in range(3))
    assert seconds(40_000) < 8 * 4 * short + 0.5


@pytest.mark.parametrize("leap", [101, 500, 2900])
def test_a_leap_of_the_numbers_that_takes_no_time_is_a_restart(leap: int) -> None:
    found = summarise(received(NUMBER + np.where(NUMBER >= 250, leap, 0), NUMBER * 160, NUMBER * 20))
    assert (found.sequence_restarts, found.packets_lost, found.packets_received) == (1, 0, 600)
    assert (found.pdv_max_ms, found.jitter_max_ms, found.talkspurts) == (0.0, 0.0, 1)


@pytest.mark.parametrize("lost", [101, 500, 2900])
@pytest.mark.parametrize("clump", [1, 10])
def test_an_outage_is_loss(lost: int, clump: int) -> None:
    number = NUMBER + np.where(NUMBER >= 250, lost, 0)
    trace = received(number, number * 160, np.ceil(number / clump) * clump * 20 + number % clump * 0.01)
    found = summarise(trace)
    assert (found.sequence_restarts, found.packets_lost) == (0, lost)
    assert not arrivals(trace).timeline.notes


def test_losses_without_time_are_counted_and_said() -> None:
    """Of every five packets one was FEC, with the timestamp of the one before, and the capture lacks all of these."""
    trace = received(NUMBER + NUMBER // 4, NUMBER * 160, NUMBER * 20)
    assert summarise(trace).packets_lost == 149
    assert "no time for 149 of the 149" in arrivals(trace).timeline.notes[0]
    # Three packets of speech more are lost, one FEC packet among them.
    fewer = trace.take(~np.isin(NUMBER, [102, 103, 104]))
    assert summarise(fewer).packets_lost == 152
    assert "no time for 149 of the 152" in arrivals(fewer).timeline.notes[0]


def test_packets_lost_where_the_packet_time_changes_had_time() -> None:
    length = np.where(NUMBER < 100, 60, 10)
    begin = np.concatenate(([0], np.cumsum(length)[:-1]))
    trace = received(NUMBER, begin * 8, begin)
    kept = trace.take(~np.isin(NUMBER, [50, 51, 98, 99, 100, 101, 200, 201, 202]))
    assert summarise(kept).packets_lost == 9
    assert not any("no time" in note for note in arrivals(kept).timeline.notes)


@pytest.mark.parametrize("stalls", [2, 3])
def test_stalls_that_let_packets_through_at_the_senders_pace_are_delay(stalls: int) -> None:
    """As over Tor: what came before the next stall came evenly, and only the last one is caught up."""
    queue = np.zeros(600)
    for stall in range(stalls):
        queue[100 + 30 * stall :] += 3000
    queue[100 + 30 * stalls :] = np.maximum(3000.0 * stalls - 19 * np.arange(600 - 100 - 30 * stalls), 0)
    trace = received(NUMBER, NUMBER * 160, NUMBER * 20 + queue)
    found = summarise(trace)
    assert (found.holds, found.timestamp_jumps) == (0, 0)
    assert found.pdv_max_ms == 3000 * stalls


def test_one_packet_that_advances_breaks_nothing() -> None:
    """The other came again, ten seconds later."""
    found = summarise(received([7, 7], [0, 0], [0, 10_000]))
    assert (found.packets_received, found.packets_duplicate, found.timestamp_jumps) == (1, 1, 0)


@pytest.mark.parametrize(("apart_ms", "holds"), [(20, 1), (0.1, 0)])
def test_two_packets_at_the_end_are_after_a_hold_if_they_come_at_the_senders_pace(apart_ms: float, holds: int) -> None:
    number = np.arange(30)
    came = number * 20.0 + np.where(number >= 28, 5000, 0)
    came[29] = came[28] + apart_ms
    found = summarise(received(number, number * 160, came))
    assert found.holds == holds
    assert found.pdv_max_ms == pytest.approx(0 if holds else 5000)


@pytest.mark.parametrize("between", [1, 2, 3, 6])
@pytest.mark.parametrize("gaps_s", [(15, 15, 15, 15), (6, 6), (2.5, 40)])
def test_packets_between_holds_end_none(gaps_s: tuple[float, ...], between: int) -> None:
    """As those that keep a path through a NAT open (RFC 6263)."""
    come = NUMBER[:500] * 20.0
    for i, gap in enumerate(gaps_s):
        come = come + np.where(NUMBER[:500] >= 230 + i * between, gap * 1000, 0)
    found = summarise(received(NUMBER[:500], NUMBER[:500] * 160, come))
    assert (found.holds, found.timestamp_jumps) == (len(gaps_s), 0)
    assert found.held_s == pytest.approx(sum(gaps_s), abs=0.1)
    assert (found.pdv_max_ms, found.jitter_max_ms) == (0.0, 0.0)


def test_stalls_with_little_between_them_are_no_holds() -> None:
    """What was held back comes at last."""
    come = NUMBER * 20.0
    come = np.where((NUMBER >= 250) & (come < 8000), 8000 + NUMBER * 0.1, come)
    come = np.where((NUMBER >= 252) & (come < 11_500), 11_500 + NUMBER * 0.1, come)
    found = summarise(received(NUMBER, NUMBER * 160, come))
    assert (found.holds, found.timestamp_jumps) == (0, 0)
    assert found.pdv_max_ms > 5000
