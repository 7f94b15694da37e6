"""MOS estimated from sound alone: what the models must get right, whatever they are worth otherwise."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from earwitness.extras import MissingExtra
from earwitness.score import sound_models
from earwitness.score.kind import Evidence, ScorerRefused, figure
from earwitness.score.scorers import scorer
from earwitness.speech.reference import speech

SAID = speech("allison-10s", 16000).samples[16000:64000]


def with_loss(share: float) -> np.ndarray:
    heard = SAID[: len(SAID) // 320 * 320].reshape(-1, 320).copy()
    heard[np.random.default_rng(4).random(len(heard)) < share] = 0
    return heard.reshape(-1)


def rated(name: str, heard: np.ndarray, rate: int = 16000) -> float:
    return figure(scorer(name), Evidence(heard=heard, sample_rate=rate))


@pytest.mark.parametrize("name", ["dnsmos", "plcmos"])
def test_holes_cost_and_no_reference_is_needed(name: str) -> None:
    clear, holed = rated(name, SAID), rated(name, with_loss(0.3))
    assert 1.0 <= holed < clear - 0.3
    assert clear <= 5.0
    assert rated(name, SAID) == clear, "not the same figure twice"


def test_telephone_speech_is_resampled() -> None:
    assert rated("plcmos", speech("allison-10s").samples[8000:32000], 8000) == pytest.approx(
        rated("plcmos", SAID), abs=0.3
    )


def test_the_spectrum_of_a_tone_and_of_silence() -> None:
    """Hamming-windowed frames of 512, half overlapping; a bin of 1 kHz holds the tone, silent frames a floor."""
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.float32)
    found = sound_models.log_power(np.concatenate([tone, np.zeros(4000, np.float32)]))
    assert found.shape == (80, 257)
    assert int(found[30].argmax()) == 32
    power = (0.5 * np.hamming(513)[:-1].sum() / 2) ** 2
    assert found[30, 32] == pytest.approx(np.log(power) / 20, abs=1e-4)
    assert found[-1].max() == found.min()
    assert np.isfinite(sound_models.log_power(np.zeros(1000, np.float32))).all()


@pytest.mark.parametrize("name", ["dnsmos", "plcmos"])
def test_what_cannot_be_rated_is_refused(name: str) -> None:
    for wrong, told in (
        (np.zeros(32000, np.int16), "silent"),
        (SAID[:8000], "lasts 0.5 s"),
        (np.tile(SAID, 31), "lasts 93.0 s"),
        (SAID[:0], "lasts 0.0 s"),
    ):
        with pytest.raises(ScorerRefused, match=told):
            rated(name, wrong)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sound_models._session.cache_clear()
    for module in ("onnxruntime", "speechmos"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            with pytest.raises(MissingExtra, match=r"pip install 'earwitness\[estimate\]'"):
                rated("plcmos", SAID)
