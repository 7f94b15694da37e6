"""A real study of a few direct calls in the lab: stopped with Ctrl-C, resumed, reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from earwitness.errors import EarwitnessError
from earwitness.lab.sandbox import check_permitted
from earwitness.study.paired import compare

pytestmark = pytest.mark.lab

STUDY = """
version = 1
name = "real"
[[path]]
name = "direct"
path = "direct"
[axes]
codec = ["g711u", "gsm"]
places = [["Frankfurt", "London"], ["New York", "Sydney"]]
[call]
seconds = 4.0
[run]
at_once = 2
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    try:
        check_permitted()
    except EarwitnessError as error:
        pytest.skip(f"no lab on this machine: {error}")
    return {**os.environ, "EARWITNESS_RUNTIME": str(tmp_path / "runtime"), "COLUMNS": "200"}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", "from earwitness.cli.main import main; main()", *arguments]
    return subprocess.Popen(argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_study_in_the_lab_is_stopped_and_resumed(environment: dict[str, str], tmp_path: Path) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "data"
    file.write_text(STUDY)
    command = ("study", "run", str(file), "--out", str(out), "--json")
    first = start(environment, *command)
    assert first.stderr is not None
    for line in first.stderr:
        if "the lab is up" in line:
            break
    first.send_signal(signal.SIGINT)
    printed, messages = first.communicate(timeout=120)
    assert first.returncode == 130, messages
    assert "the same command resumes it" in messages
    before = [json.loads(line) for line in printed.splitlines()]
    assert all(row["outcome"] == "completed" for row in before), "Ctrl-C does not harm the calls on the air"
    assert len(before) < 8

    second = start(environment, *command)
    printed, messages = second.communicate(timeout=120)
    assert second.returncode == 0, messages
    after = [json.loads(line) for line in printed.splitlines()]
    assert {row["call_id"] for row in before}.isdisjoint({row["call_id"] for row in after})
    assert (out / "report.html").is_file()

    rows = Dataset.open(out).rows()
    assert len(rows) == 8
    assert rows["block"].nunique() == 4
    london, sydney = (rows[rows["to_place"] == place]["owd_p50_ms"].astype(float) for place in ("London", "Sydney"))
    assert london.between(5, 9).all(), "each pair of ends has its own places, also while the other talks"
    assert sydney.between(120, 140).all()
    by_codec = {one.measure: one for one in compare(rows, "codec", ["mos_lqo", "completed"])}
    assert (by_codec["mos_lqo"].a, by_codec["mos_lqo"].b, by_codec["mos_lqo"].pairs) == ("g711u", "gsm", 2)
    assert by_codec["mos_lqo"].difference < -0.5, "GSM codes worse than G.711"
    state = start(environment, "study", "status", str(out), "--json")
    printed, _ = state.communicate(timeout=60)
    found = json.loads(printed)
    assert (found["calls"], found["open"], found["outcomes"]) == (4, 0, {"completed": 4})
