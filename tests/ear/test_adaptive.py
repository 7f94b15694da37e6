from __future__ import annotations

import numpy as np
import pytest

from earwitness.ear import hear
from earwitness.ear.account import CODE
from earwitness.ear.adaptive import Adaptive
from earwitness.ear.base import Fate
from earwitness.ear.delays import Delays
from earwitness.ear.played import play, received
from earwitness.score.pesq import pesq_nb
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from testing.ear.traces import trace_of, voice

MS = 1_000_000


def spoken(seconds: float) -> np.ndarray:
    """1.5 s of voice and 0.5 s of quiet, again and again."""
    sound = voice(seconds)
    sound[np.arange(len(sound)) % 16000 >= 12000] = 3
    return sound


def test_the_target_is_where_waiting_stops_to_pay() -> None:
    delays = Delays(worth_ms=20.0, first_ms=60.0, least_ms=0.0, memory_s=1000.0, packet_ns=20 * MS)
    rng = np.random.default_rng(3)
    for value in rng.exponential(40.0, 3000):
        delays.add(round(value * MS))
    # Minimum of T + 2000 exp(-T / 40): at 40 ln 50.
    assert delays.target_ns / MS == pytest.approx(40 * np.log(50), abs=25)


def test_an_even_stream_ends_up_with_little_delay() -> None:
    c = codec("g711u")
    heard = hear(trace_of(c, spoken(20), delay_ms=np.random.default_rng(5).uniform(50, 60, 1000)), c, "adaptive")
    late_in_call = heard.playout_delay_ms[-400:]
    assert late_in_call.mean() < 65
    assert heard.shares["late_ratio"] < 0.005


@pytest.mark.parametrize("spec", ["gsm", "opus:24000"])
def test_a_direct_call_costs_nothing(spec: str) -> None:
    """A short call that begins at once and has no jitter sounds as through a fixed buffer, at no more delay."""
    c = codec(spec)
    said = speech("carlo-10s").samples[: 9 * 8000]
    delay = 30 + np.random.default_rng(1).exponential(0.2, 450)
    adaptive, fixed = (hear(trace_of(c, said, delay_ms=delay), c, buffer) for buffer in ("adaptive", "fixed:60"))
    scores = [pesq_nb(said, heard.audio).mos_lqo for heard in (adaptive, fixed)]
    assert scores[0] > scores[1] - 0.05
    assert adaptive.mouth_to_ear_mean_ms <= fixed.mouth_to_ear_mean_ms


def test_the_start_is_learned_from_the_first_packets() -> None:
    """Even packets need little; uneven ones are waited for from the beginning."""
    starts = []
    for spread in (0.5, 12.0, 60.0):
        delays = Delays(worth_ms=20.0, first_ms=140.0, least_ms=50.0, memory_s=10.0, packet_ns=20 * MS)
        for value in (0.0, spread, spread / 2, 0.0):
            delays.add(round(value * MS))
        starts.append(delays.target_ns / MS)
    assert starts == [50.0, 50.0, 140.0]


def test_words_are_waited_for_when_the_network_stalls() -> None:
    c = codec("gsm")
    delay = np.full(500, 40.0)
    delay[225:255] = 40 + 300 - 10 * np.arange(30)  # In the middle of a talkspurt packets come 300 ms late.
    trace = trace_of(c, spoken(10), delay_ms=delay)
    adaptive, fixed = hear(trace, c, "adaptive"), hear(trace, c, "fixed:60")
    assert adaptive.shares["late_ratio"] < 0.25 * fixed.shares["late_ratio"]
    # The time is made up in the pauses that follow.
    assert adaptive.playout_delay_ms[-20:].mean() < 150


def test_speech_is_stretched_where_the_delay_is_far_off() -> None:
    c = codec("gsm")
    delay = np.full(500, 40.0)
    delay[200:230] = 440.0
    trace = trace_of(c, voice(10), delay_ms=delay)
    heard = hear(trace, c, Adaptive(stretch_ms=100.0))
    assert heard.shares["stretched_ratio"] > 0.02
    assert heard.shares["late_ratio"] < 0.02
    never = hear(trace, c, Adaptive(stretch_ms=1e6))
    assert heard.playout_delay_mean_ms < never.playout_delay_mean_ms - 20


@pytest.mark.parametrize("spec", ["g711u", "opus:24000"])
def test_nobody_misses_fewer_frames_than_the_oracle(spec: str) -> None:
    c = codec(spec)
    rng = np.random.default_rng(11)
    for _ in range(3):
        delay = 30 + rng.gamma(1.5, 30.0, 500) + 100 * (np.arange(500) // 125 % 2)
        trace = trace_of(c, spoken(10), delay_ms=delay)
        for ms in (60, 120, 200):
            fixed = hear(trace, c, f"fixed:{ms}")
            least = hear(trace, c, f"fixed:{ms}").mouth_to_ear_mean_ms - 20 - delay.min() - fixed.lookahead_ns / 1e6
            oracle = hear(trace, c, f"oracle:{least:.3f}")
            missed = oracle.shares["late_ratio"] + oracle.shares["discarded_ratio"]
            assert oracle.mouth_to_ear_mean_ms <= fixed.mouth_to_ear_mean_ms + 20
            assert missed <= fixed.shares["late_ratio"] + 0.01


@pytest.mark.parametrize("after_ms", [0.007, 300.0, 1000.0, 12_000.0])
def test_second_copies_teach_nothing(after_ms: float) -> None:
    c, ear = codec("gsm"), Adaptive()
    jitter = np.random.default_rng(2).uniform(30, 60, 1400)
    once = trace_of(c, voice(30.0), delay_ms=jitter, pauses=[(300, 340), (900, 960)])
    again = np.flatnonzero(np.arange(len(once)) % 3 == 1)
    copied = once.take(np.concatenate((np.arange(len(once)), again)))
    later = copied.arrived_ns + np.where(np.arange(len(copied)) < len(once), 0, round(after_ms * MS))
    first, other = (play(received(trace, c, ear), ear) for trace in (once, copied.with_arrivals(later)))
    assert other.account.frames_with(Fate.DUPLICATE) == len(again)
    assert other.figures() == pytest.approx(first.figures() | {"pause_ratio": other.shares["pause_ratio"]})


def test_what_comes_late_for_the_first_time_teaches() -> None:
    """Every tenth packet comes 100 ms late and is missed, until the buffer has learned to wait for it."""
    c = codec("gsm")
    delay = np.where(np.arange(1500) % 10 == 5, 130.0, 30.0)
    late = hear(trace_of(c, spoken(30.0), delay_ms=delay), c, "adaptive").account.fate == CODE[Fate.LATE]
    assert late[:250].any()
    assert not late[-500:].any()
