"""Recordings that lack some of the speech that they are compared with say so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from earwitness.arrays import Pcm
from earwitness.score.files import score_files
from earwitness.score.missing import missing_speech
from earwitness.speech.reference import speech, speech_names
from earwitness.speech.wav import write_wav
from testing.commands import EARWITNESS

RATE = 8000


def said(name: str = "carlo-10s") -> Pcm:
    return speech(name, RATE).samples


@pytest.mark.parametrize("name", speech_names())
@pytest.mark.parametrize("end", ["start", "end"])
def test_missing_speech_is_told_with_its_length(name: str, end: str) -> None:
    whole = said(name)
    cut = 2 * RATE
    heard, delay_ms = (whole[cut:], -2000.0) if end == "start" else (whole[:-cut], 0.0)
    found = missing_speech(whole, heard, RATE, delay_ms)
    assert f" s at its {end}, which counts as lost" in found
    told = float(found.partition("reference has, ")[2].partition(" s ")[0])
    assert 0.4 < told <= 2.0
    assert ("at its end" in found) == (end == "end")


@pytest.mark.parametrize("delay_ms", [0.0, 60.0, 480.0, None])
def test_nothing_is_told_of_a_whole_recording(delay_ms: float | None) -> None:
    whole = said()
    late = np.concatenate((np.zeros(round((delay_ms or 0) * RATE / 1000), np.int16), whole, whole[:RATE]))
    assert missing_speech(whole, late, RATE, delay_ms) == ""
    assert missing_speech(whole, whole[: -RATE // 2], RATE, delay_ms) == "", "half a second of silence"
    assert missing_speech(np.zeros(RATE, np.int16), whole[:RATE], RATE, None) == ""


def test_the_score_of_a_file_and_its_command_say_it(tmp_path: Path) -> None:
    reference, degraded = tmp_path / "said.wav", tmp_path / "heard.wav"
    write_wav(reference, said(), RATE)
    write_wav(degraded, said()[: 6 * RATE], RATE)
    found = score_files(reference, degraded)
    assert found.mos_lqo is not None
    assert found.mos_lqo < 3
    (note,) = found.notes
    assert "at its end" in note
    printed = subprocess.run(
        [*EARWITNESS, "score", str(reference), str(degraded)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert note in printed
