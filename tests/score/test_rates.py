"""The rate at which PESQ compares two sounds: their own 8 or 16 kHz, else one that is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pesq as pesq_package
import pytest

import earwitness as ew
from earwitness.errors import InputError
from earwitness.score.files import score_files
from earwitness.score.listening import listening_quality, resampling, scored_rate
from earwitness.score.pesq import pesq_nb
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.speech.wav import resample, write_wav
from testing.ear.traces import trace_of


def pair(rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Speech, and the same with noise that reaches beyond the telephone band."""
    said = speech("carlo-10s", rate).samples[: 4 * rate]
    return said, (said + np.random.default_rng(5).normal(0, 400, len(said))).astype(np.int16)


def files(folder: Path, said: np.ndarray, said_rate: int, heard: np.ndarray, rate: int) -> tuple[Path, Path]:
    write_wav(folder / "ref.wav", said, said_rate)
    write_wav(folder / "deg.wav", heard, rate)
    return folder / "ref.wav", folder / "deg.wav"


def test_narrowband_at_16_khz_is_the_reference_code_s_at_16_khz(tmp_path: Path) -> None:
    said, heard = pair(16000)
    found = score_files(*files(tmp_path, said, 16000, heard, 16000))
    peak = max(np.abs(said).max(), np.abs(heard).max())
    assert peak < 32767
    assert found.mos_lqo == pytest.approx(pesq_package.pesq(16000, said, heard, "nb"), abs=0.01)
    assert found.mos_lqo == pesq_nb(said, heard, 16000).mos_lqo
    at_8_khz = pesq_nb(resample(said, 16000, 8000), resample(heard, 16000, 8000), 8000).mos_lqo
    assert abs(found.mos_lqo - at_8_khz) > 0.05, "this pair does not tell the two apart"
    assert (found.sample_rate, found.resampled) == (16000, "")


@pytest.mark.parametrize("rate", [8000, 16000])
def test_every_way_to_a_score_gives_the_same_narrowband_figure(tmp_path: Path, rate: int) -> None:
    said, heard = pair(rate)
    expected = pesq_nb(said, heard, rate).mos_lqo
    paths = files(tmp_path, said, rate, heard, rate)
    assert score_files(*paths).mos_lqo == expected
    assert listening_quality(said, heard, rate).mos_lqo == expected
    assert ew.score((said, rate), (heard, rate)).mos_lqo == expected
    assert ew.score(*paths).mos_lqo == expected


def test_what_a_wideband_codec_s_phone_played_scores_the_same_from_its_file(tmp_path: Path) -> None:
    wide = codec("opus:24000,rate=16000")
    said = speech("allison-10s", 16000)
    heard = ew.hear(trace_of(wide, said.samples, lost=[50, 51, 200]), wide, "fixed:60")
    write_wav(tmp_path / "ref.wav", said.samples, 16000)
    write_wav(tmp_path / "heard.wav", heard.audio, 16000)
    direct, filed = ew.score(said, heard), score_files(tmp_path / "ref.wav", tmp_path / "heard.wav")
    assert direct.mos_lqo == filed.mos_lqo
    assert direct.sample_rate == filed.sample_rate == 16000
    wideband = score_files(tmp_path / "ref.wav", tmp_path / "heard.wav", wideband=True)
    assert direct.mos_lqo_wb == wideband.mos_lqo_wb


@pytest.mark.parametrize(
    ("said_rate", "rate", "at", "told"),
    [
        (48000, 48000, 16000, "48000 -> 16000"),
        (44100, 48000, 16000, "reference 44100 -> 16000, degraded 48000 -> 16000"),
        (16000, 44100, 16000, "degraded 44100 -> 16000"),
        (8000, 16000, 8000, "degraded 16000 -> 8000"),
        (48000, 8000, 8000, "reference 48000 -> 8000"),
        (12000, 12000, 8000, "12000 -> 8000"),
        (16000, 16000, 16000, ""),
        (8000, 8000, 8000, ""),
    ],
)
def test_other_rates_are_converted_and_told(tmp_path: Path, said_rate: int, rate: int, at: int, told: str) -> None:
    assert scored_rate(said_rate, rate) == at
    assert resampling(said_rate, rate, at) == told
    said, heard = pair(said_rate)[0], pair(rate)[1]
    found = score_files(*files(tmp_path, said, said_rate, heard, rate))
    assert (found.sample_rate, found.resampled) == (at, told)
    assert (found.reference_sample_rate, found.degraded_sample_rate) == (said_rate, rate)
    assert found.mos_lqo == listening_quality(said, heard, rate, said_rate).mos_lqo


def test_the_published_way_takes_neither_wideband_nor_channels(tmp_path: Path) -> None:
    said, heard = pair(8000)
    paths = files(tmp_path, said, 8000, heard, 8000)
    assert score_files(*paths, as_published=True).mos_lqo == score_files(*paths).mos_lqo
    for refused in ({"wideband": True}, {"channel": "left"}, {"reference_channel": 1}):
        with pytest.raises(InputError, match="leave out"):
            score_files(*paths, as_published=True, **refused)
