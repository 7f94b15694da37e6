"""Active speech level and activity detection, on signals whose level is known."""

from __future__ import annotations

import numpy as np
import pytest

from earwitness.speech.activity import speech_frames
from earwitness.speech.level import at_level, speech_level
from earwitness.speech.reference import speech


def tone(seconds: float, amplitude: float, rate: int = 8000) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * 500 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("dbov", [-50.0, -26.0, -10.0])
def test_a_steady_tone_has_its_own_power_as_active_level(rate: int, dbov: float) -> None:
    amplitude = 32768 * 10 ** (dbov / 20) * np.sqrt(2)
    level = speech_level(tone(5, amplitude, rate), rate)
    assert level.active_dbov == pytest.approx(dbov, abs=0.1)
    assert level.activity == pytest.approx(1.0, abs=0.02)


def test_pauses_do_not_count() -> None:
    half = np.concatenate([np.concatenate([tone(2, 3000), np.zeros(16000, np.int16)]) for _ in range(5)])
    level = speech_level(half, 8000)
    alone = speech_level(tone(10, 3000), 8000)
    # P.56's hangover of 0.2 s counts as active, 10 % of each tone's length.
    assert level.activity == pytest.approx(0.56, abs=0.03)
    assert level.active_dbov == pytest.approx(alone.active_dbov, abs=0.6)
    assert level.mean_dbov == pytest.approx(alone.active_dbov - 3.01, abs=0.05)


def test_gain_moves_the_level_by_itself() -> None:
    said = speech("carlo-10s").samples
    assert speech_level(said // 4, 8000).active_dbov == pytest.approx(
        speech_level(said, 8000).active_dbov - 12.04, abs=0.1
    )
    assert speech_level(at_level(said, 8000, -35.0), 8000).active_dbov == pytest.approx(-35.0, abs=0.05)


def test_silence_has_no_level() -> None:
    assert speech_level(np.zeros(8000, np.int16), 8000).activity == 0.0


def test_speech_is_sent_and_its_pauses_are_not() -> None:
    said = speech("allison-30s").samples
    active = speech_frames(said, 8000)
    assert len(active) == len(said) // 160
    assert 0.6 < active.mean() < 0.95
    assert not active[:20].any()
    # Nothing audible is withheld: what is not sent is 40 dB and more below the speech.
    withheld = said[: len(active) * 160].reshape(-1, 160)[~active]
    assert np.sqrt(np.mean(withheld.astype(float) ** 2)) < 32768 * 10 ** (-66 / 20)


def test_the_detector_is_causal_and_keeps_the_hangover() -> None:
    said = speech("carlo-10s").samples
    whole = speech_frames(said, 8000)
    assert np.array_equal(speech_frames(said[: 160 * 200], 8000), whole[:200])
    burst = np.concatenate([np.zeros(8000, np.int16), tone(1, 3000), np.zeros(16000, np.int16)])
    on = np.flatnonzero(speech_frames(burst, 8000))
    assert (on[0], on[-1]) == (50, 50 + 50 + 10 - 1)


def test_steady_noise_is_learned_as_background() -> None:
    noise = np.random.default_rng(1).normal(0, 60, 80000).astype(np.int16)
    assert speech_frames(noise, 8000)[-100:].mean() == 0.0
