"""Timestamps that a sender read from a clock: what the numbers and lengths of the packets say is played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear.base import Fate
from earwitness.ear.buffers import buffer
from earwitness.ear.played import play, received
from earwitness.speech.codecs.registry import codec
from testing.ear.traces import by_clock, trace_at, trace_of, voice

OWN = ("fixed:60", "fixed:1000", "adaptive", "oracle:200")


@pytest.mark.parametrize("spec", OWN)
@pytest.mark.parametrize("name", ["g711u", "gsm", "opus:24000"])
@pytest.mark.parametrize("noise_ms", [0.125, 0.5, 2.0, 4.9])
def test_speech_with_uneven_timestamps_is_played_whole(spec: str, name: str, noise_ms: float) -> None:
    c, ear = codec(name), buffer(spec)
    even = trace_of(c, voice(6.0), first_timestamp=48_000)
    shares = play(received(by_clock(even, noise_ms), c, ear), ear).shares
    assert shares["played_ratio"] == 1.0
    assert shares["concealed_ratio"] == 0.0


@pytest.mark.parametrize("spec", OWN)
def test_a_loss_and_a_pause_are_where_they_are_without_the_unevenness(spec: str) -> None:
    c, ear = codec("gsm"), buffer(spec)
    even = trace_of(c, voice(6.0), lost=(20, 21, 250), pauses=[(100, 150)], first_timestamp=48_000)
    uneven = by_clock(even, 2.0)
    first, other = (play(received(trace, c, ear), ear).account for trace in (even, uneven))
    assert other.fate.tolist() == first.fate.tolist()
    assert other.pulls_from(Fate.CONCEALED) == first.pulls_from(Fate.CONCEALED) == 3
    assert abs(other.pulls_from(Fate.PAUSE) - first.pulls_from(Fate.PAUSE)) <= 1


def test_a_clock_that_drifts_is_followed() -> None:
    """In 60 s with 0.1 % more ticks than samples there are three packet times that nothing was said in."""
    c, ear = codec("gsm"), buffer("fixed:60")
    uneven = by_clock(trace_of(c, voice(60.0), first_timestamp=48_000), 1.0, drift=0.001)
    here = received(uneven, c, ear)
    assert np.abs(here.trace.timestamp - uneven.timestamp).max() <= 80
    played = play(here, ear)
    assert played.shares["played_ratio"] == 1.0
    assert played.account.pulls_from(Fate.CONCEALED, Fate.PAUSE) <= 3 + 3  # with those before the first packet


@pytest.mark.parametrize("ptimes", [(20,), (10, 20, 30), (20, 60)])
def test_what_is_on_the_grid_stays_there(ptimes: tuple[float, ...]) -> None:
    c, ear = codec("g711u"), buffer("adaptive")
    whole = trace_at(c, voice(4.0), ptimes)
    lacking = whole.take(np.arange(len(whole)) % 7 != 3)
    for trace in (whole, lacking, replace(lacking, timestamp=lacking.timestamp + 400 * (lacking.sequence > 65_540))):
        here = received(trace, c, ear)
        assert here.trace is trace
        assert here.uneven == ()


def test_another_step_than_the_packets_length_is_no_clock() -> None:
    c, ear = codec("gsm"), buffer("adaptive")
    trace = trace_of(c, voice(2.0))
    slower = replace(trace, timestamp=trace.timestamp + (trace.sequence - 65_500) * 7)
    assert received(slower, c, ear).trace is slower


def test_copies_move_with_their_packets() -> None:
    c, ear = codec("gsm"), buffer("fixed:60")
    once = by_clock(trace_of(c, voice(2.0)), 2.0)
    twice = once.take(np.repeat(np.arange(len(once)), 2))
    assert received(twice, c, ear).trace.timestamp[::2].tolist() == received(once, c, ear).trace.timestamp.tolist()
    assert play(received(twice, c, ear), ear).shares["played_ratio"] == 1.0


def test_it_is_said_and_the_phones_own_buffer_has_the_timestamps_as_they_came() -> None:
    c = codec("g711u")
    uneven = by_clock(trace_of(c, voice(2.0), first_timestamp=48_000), 2.0)
    moved, kept = (play(received(uneven, c, buffer(spec)), buffer(spec)) for spec in ("fixed:60", "pjmedia"))
    assert moved.notes[0].endswith("(read from a clock?); the packets are played where their sequence numbers say")
    assert kept.notes[0].endswith("(read from a clock?); this buffer goes by timestamps")
    assert kept.trace is uneven
    assert kept.shares["played_ratio"] < 0.9
    assert kept.shares["concealed_ratio"] > 0.1
