"""`earwitness score` as a user meets it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earwitness.errors import InputError
from earwitness.score.files import score_files
from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav
from testing.commands import EARWITNESS


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    said = speech("carlo-10s").samples
    write_wav(tmp_path / "ref.wav", said, 8000)
    write_wav(tmp_path / "deg.wav", said // 2, 8000)
    return tmp_path / "ref.wav", tmp_path / "deg.wav"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*EARWITNESS, "score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_prints_what_the_reference_program_prints_first(pair: tuple[Path, Path]) -> None:
    done = run(*pair)
    first = done.stdout.splitlines()[0]
    found = score_files(*pair)
    assert first == f"P.862 Prediction (Raw MOS, MOS-LQO):  = {found.pesq_raw:.3f}\t{found.mos_lqo:.3f}"
    assert "verdict    good" in done.stdout


def test_json_is_one_record(pair: tuple[Path, Path]) -> None:
    record = json.loads(run(*pair, "--json").stdout)
    assert record["mos_lqo"] > 4.4
    assert record["degraded_level_dbov"] == pytest.approx(-32.0, abs=0.1)
    assert record["mode"] == "narrowband"


def test_errors_are_one_line_and_exit_2(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_text("not audio")
    for arguments in ((pair[0], tmp_path / "no.wav"), (pair[0], tmp_path / "absent.wav"), (*pair, "--wideband")):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1


def test_rates_may_differ_and_wideband_needs_16_khz(tmp_path: Path) -> None:
    write_wav(tmp_path / "ref.wav", speech("carlo-10s", 48000).samples, 48000)
    write_wav(tmp_path / "deg.wav", speech("carlo-10s", 16000).samples, 16000)
    narrow = score_files(tmp_path / "ref.wav", tmp_path / "deg.wav").mos_lqo
    wide = score_files(tmp_path / "ref.wav", tmp_path / "deg.wav", wideband=True).mos_lqo_wb
    assert narrow is not None
    assert narrow > 4.4
    assert wide is not None
    assert wide > 4.5
    with pytest.raises(InputError):
        score_files(tmp_path / "ref.wav", tmp_path / "deg.wav", wideband=True, as_published=True)


def test_a_stereo_call_recording_needs_a_channel(tmp_path: Path) -> None:
    said, other = speech("carlo-10s").samples[:40000], speech("allison-10s").samples[:40000]
    write_wav(tmp_path / "ref.wav", said, 8000)
    soundfile.write(tmp_path / "call.wav", np.stack([other, said], axis=1), 8000)
    refused = run(tmp_path / "ref.wav", tmp_path / "call.wav")
    assert refused.returncode == 2
    assert "--channel: choosing a channel of" in refused.stderr
    assert "2 channels, which differ: left -" in refused.stderr
    refused = run(tmp_path / "call.wav", tmp_path / "ref.wav")
    assert "choose with --reference-channel: left, right, or mix" in refused.stderr
    done = run(tmp_path / "ref.wav", tmp_path / "call.wav", "--channel", "right")
    assert "4.549" in done.stdout.splitlines()[0]
    assert "note       degraded: right of 2 channels" in done.stdout
    both = run(tmp_path / "call.wav", tmp_path / "call.wav", "--channel", "2", "--reference-channel", "mix", "--json")
    record = json.loads(both.stdout)
    assert (record["degraded_channel"], record["reference_channel"]) == ("right", "mix")
    assert record["notes"] == ["reference: mix of 2 channels", "degraded: right of 2 channels"]
    assert record["mos_lqo"] < 2.5


def test_what_was_converted_is_said(tmp_path: Path) -> None:
    for name, rate in (("ref.wav", 48000), ("deg.wav", 16000)):
        write_wav(tmp_path / name, speech("carlo-10s", rate).samples[: 4 * rate], rate)
    done = run(tmp_path / "ref.wav", tmp_path / "deg.wav")
    assert "compared   at 16000 Hz (narrowband), resampled: reference 48000 -> 16000" in done.stdout
    assert "reference  4.00 s at 48000 Hz, -2" in done.stdout
    record = json.loads(run(tmp_path / "deg.wav", tmp_path / "deg.wav", "--json").stdout)
    assert (record["resampled"], record["sample_rate"], record["degraded_sample_rate"]) == ("", 16000, 16000)
