"""Which gaps in the sequence numbers were lost packets: those for which the timestamps leave room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.ear import hear
from earwitness.ear.base import Fate
from earwitness.ear.losses import inferred_losses, leapt_over, lost_between
from earwitness.score.played import estimate_played
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import LOST, Trace
from testing.ear.traces import trace_at, trace_of, voice

G711 = codec("g711u")


def captured(trace: Trace) -> Trace:
    """As a capture at the receiver has it: without the packets that never came."""
    return replace(trace.take(trace.arrived_ns != LOST), sent_ns=trace.arrived_ns[trace.arrived_ns != LOST])


def skipping(trace: Trace, after: int, numbers: int) -> Trace:
    """The sender skips sequence numbers, and its timestamps do not."""
    return replace(trace, sequence=trace.sequence + np.where(np.arange(len(trace)) > after, numbers, 0))


@pytest.mark.parametrize("numbers", [1, 90, 500, 2500])
def test_numbers_that_the_sender_skipped_were_no_speech(numbers: int) -> None:
    trace = captured(skipping(trace_of(G711, voice(4.0)), 90, numbers))
    assert lost_between(trace).sum() == 0
    assert leapt_over(trace) == numbers
    heard = hear(trace, G711, "fixed:60")
    assert heard.shares["lost_ratio"] == 0
    said = f"{numbers} sequence numbers were skipped" if numbers <= 100 else "the sender restarted its numbering once"
    assert any(said in note for note in heard.notes)
    rated = estimate_played(heard, G711)
    assert (rated.metrics.loss_rate, rated.metrics.packets) == (0, len(trace))


@given(st.sets(st.integers(1, 98), max_size=60), st.sampled_from(["g711u", "gsm:ptime=60", "opus:24000,ptime=10"]))
def test_every_lost_packet_is_counted_where_it_was(lost: set[int], spec: str) -> None:
    of = codec(spec)
    whole = trace_of(of, voice(100 * of.packet_ms / 1000, of.sample_rate), lost=sorted(lost))
    missing = np.flatnonzero(whole.arrived_ns == LOST)
    sequence, timestamp = inferred_losses(captured(whole))
    order = np.argsort(whole.sequence[missing])
    assert sequence.tolist() == whole.sequence[missing][order].tolist()
    assert timestamp.tolist() == whole.timestamp[missing][order].tolist()


def test_lost_packets_and_a_pause_are_told_apart_by_their_numbers() -> None:
    trace = captured(trace_of(G711, voice(4.0), lost=(60, 61), pauses=[(80, 120)]))
    assert lost_between(trace).sum() == 2
    assert leapt_over(trace) == 0


@pytest.mark.parametrize("buffer", ["pjmedia", "fixed:20"])
def test_late_speech_is_concealed_and_no_pause_wherever_the_timestamps_begin(buffer: str) -> None:
    trace = captured(trace_of(G711, voice(4.0), first_timestamp=100_000))
    chance = np.random.default_rng(1)
    late = np.where(chance.random(len(trace)) < 0.3, chance.integers(5, 60, len(trace)) * 1_000_000, 0)
    on_the_grid, beside_it = (
        hear(replace(trace, timestamp=trace.timestamp + first).with_arrivals(trace.arrived_ns + late), G711, buffer)
        for first in (0, 11)
    )
    assert on_the_grid.shares["late_ratio"] > 0.1
    assert on_the_grid.shares["concealed_ratio"] > 0.1
    assert beside_it.shares == pytest.approx(on_the_grid.shares)


@pytest.mark.parametrize("spec", ["fixed:60", "fixed:1000", "adaptive", "pjmedia"])
@pytest.mark.parametrize("lost", [(49,), (250,), (48, 49, 250)])
@pytest.mark.parametrize("known", [False, True])
def test_a_loss_at_the_edge_of_a_pause_conceals_no_more_than_was_lost(
    spec: str, lost: tuple[int, ...], known: bool
) -> None:
    whole = trace_of(G711, voice(6.0), lost=lost, pauses=[(50, 250)])
    heard = hear(whole if known else captured(whole), G711, spec)
    assert heard.account.pulls_from(Fate.CONCEALED) == 2 * len(lost)
    assert heard.account.pulls_from(Fate.PAUSE) >= 395
    assert "ran empty" not in estimate_played(heard, G711).doubt


@pytest.mark.parametrize("spec", ["fixed:60", "adaptive", "pjmedia"])
def test_a_stall_of_the_network_beside_a_loss_is_no_pause(spec: str) -> None:
    """What follows the lost packet comes 400 ms late, and the sender never paused."""
    delay = np.full(200, 30.0)
    delay[100:121] = 430.0 - 20.0 * np.arange(21)
    heard = hear(captured(trace_of(G711, voice(4.0), delay_ms=delay, lost=(100,))), G711, spec)
    assert heard.account.pulls_from(Fate.CONCEALED) > 20
    assert heard.account.pulls_from(Fate.PAUSE) <= 14


def test_where_longer_packets_may_have_been_lost_there_was_no_pause() -> None:
    mixed = trace_at(G711, voice(4.0), (10, 20, 20, 30))
    lacking = captured(mixed.take(np.arange(len(mixed)) != 83))
    heard = hear(lacking, G711, "fixed:60")
    assert heard.account.pulls_from(Fate.CONCEALED) == 3


@pytest.mark.parametrize(("numbers", "ticks", "said"), [(2, 1, "leave no time"), (1, 0, "stand still"), (1, 1, "")])
def test_what_makes_the_figures_doubtful_is_said_of_the_sound_too(numbers: int, ticks: int, said: str) -> None:
    """A sender that counts by two, or whose timestamps stand still."""
    trace = captured(trace_of(G711, voice(2.0)))
    first = trace.sequence[0], trace.timestamp[0]
    trace = replace(
        trace,
        sequence=first[0] + (trace.sequence - first[0]) * numbers,
        timestamp=first[1] + (trace.timestamp - first[1]) * ticks,
    )
    notes = hear(trace, G711, "fixed:60").notes
    assert any(said in note for note in notes) if said else notes == ()
