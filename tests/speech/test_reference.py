"""The speech that ships, and a user's own."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfiltfilt

from earwitness.errors import InputError
from earwitness.speech.level import speech_level
from earwitness.speech.reference import check_usable, speech, speech_names
from earwitness.speech.samples import to_int16
from earwitness.speech.wav import resample, write_wav


@pytest.mark.parametrize("name", speech_names())
@pytest.mark.parametrize("rate", [8000, 16000])
def test_shipped_speech_is_as_p862_wants_it(name: str, rate: int) -> None:
    found = speech(name, rate)
    level = speech_level(found.samples, rate)
    assert level.active_dbov == pytest.approx(-26.0, abs=0.1)
    assert 0.4 < level.activity < 0.9
    assert np.abs(found.samples.astype(int)).max() < 32767
    edge = rate * 2 // 5
    assert max(np.abs(found.samples[:edge]).max(), np.abs(found.samples[-edge:]).max()) < 60
    assert len(found.samples) % (rate // 50) == 0
    assert found.seconds == pytest.approx(30 if "30s" in name else 10, abs=1.5)
    check_usable(found.samples, rate, name)


def test_there_is_a_woman_and_a_man_and_two_languages_with_credit() -> None:
    manifest = json.loads((files("earwitness.speech") / "data" / "manifest.json").read_text())
    assert {entry["sex"] for entry in manifest.values()} == {"female", "male"}
    assert len({entry["language"] for entry in manifest.values()}) == 2
    for name, entry in manifest.items():
        assert entry["speaker"] in speech(name).attribution
        assert "creativecommons.org" in speech(name).attribution
        for rate, digest in entry["samples_sha256"].items():
            assert hashlib.sha256(speech(name, int(rate)).samples.astype("<i2").tobytes()).hexdigest() == digest


def test_both_rates_hold_the_same_speech_in_step() -> None:
    narrow, wide = speech("allison-10s", 8000).samples, speech("allison-10s", 16000).samples
    assert len(wide) == 2 * len(narrow)
    telephone = sosfiltfilt(butter(2, 300, "highpass", fs=16000, output="sos"), wide.astype(float))
    assert np.corrcoef(resample(to_int16(telephone), 16000, 8000), narrow)[0, 1] > 0.999


def test_seconds_cut_or_repeat() -> None:
    whole = speech("carlo-10s").samples
    assert np.array_equal(speech("carlo-10s", seconds=4).samples, whole[:32000])
    longer = speech("carlo-10s", seconds=15).samples
    assert len(longer) == 120000
    assert np.array_equal(longer[len(whole) :], whole[: 120000 - len(whole)])


def test_a_users_stereo_file_at_44_1_khz_is_converted(tmp_path: Path) -> None:
    said = speech("carlo-10s", 44100).samples
    soundfile.write(tmp_path / "mine.wav", np.stack([said, said], axis=1), 44100, subtype="PCM_16")
    found = speech(tmp_path / "mine.wav", 8000)
    assert found.sample_rate == 8000
    assert found.seconds == pytest.approx(len(said) / 44100, abs=0.001)


def test_speech_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    said = speech("carlo-10s").samples
    rng = np.random.default_rng(0)
    unusable = {
        "silent": np.zeros(80000, np.int16),
        "quiet": said // 400,
        "active": said[:16000],
        "clipped": np.clip(said.astype(int) * 60, -32768, 32767).astype(np.int16),
        "steady": rng.normal(0, 1500, 80000).astype(np.int16),
    }
    for word, samples in unusable.items():
        write_wav(tmp_path / f"{word}.wav", samples, 8000)
        with pytest.raises(InputError, match=word) as caught:
            speech(tmp_path / f"{word}.wav")
        assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="allison-10s, allison-30s"):
        speech("nobody")
    with pytest.raises(InputError, match="at least 3 s"):
        speech("carlo-10s", seconds=1)
