"""Real studies of a few direct calls in the lab: stopped with Ctrl-C and resumed; under a clock that is stepped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from earwitness.analysis.paired import compare
from earwitness.archive.dataset import Dataset
from testing.commands import EARWITNESS
from testing.study.files import study_file
from testing.study.stepping import SteppedClock

pytestmark = pytest.mark.lab

STUDY = study_file(
    "real",
    # On a busy machine calls are marked, and then left out of comparisons; that is not looked at here.
    "[call]\nseconds = 4.0\n[retry]\ninstrument = 1\n[run]\nat_once = 2\n",
    codecs=["g711u", "gsm"],
    places=[("Frankfurt", "London"), ("New York", "Sydney")],
)


@pytest.fixture
def environment(permitted: None, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "EARWITNESS_RUNTIME": str(tmp_path / "runtime"), "COLUMNS": "200"}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    argv = [*EARWITNESS, *arguments]
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
    by_codec = {one.measure: one for one in compare(rows, "codec", ["mos_lqo", "completed"], any_instrument=True)}
    assert (by_codec["mos_lqo"].a, by_codec["mos_lqo"].b, by_codec["mos_lqo"].pairs) == ("g711u", "gsm", 2)
    assert by_codec["mos_lqo"].difference < -0.5, "GSM codes worse than G.711"
    state = start(environment, "study", "status", str(out), "--json")
    printed, _ = state.communicate(timeout=60)
    found = json.loads(printed)
    assert (found["calls"], found["open"], found["outcomes"]) == (4, 0, {"completed": 4})


STEPPED = (
    STUDY.replace('"real"', '"stepped"').replace('["g711u", "gsm"]', '["g711u"]').replace("at_once = 2", "at_once = 1")
)


def test_the_wall_clock_is_stepped_by_an_hour_in_mid_call_and_back(environment: dict[str, str], tmp_path: Path) -> None:
    """The clock of all processes of the study, kernel stamps included, and nobody else's (`stepped_clock.c`)."""
    clock = SteppedClock(tmp_path)
    file, out = tmp_path / "study.toml", tmp_path / "data"
    file.write_text(STEPPED)
    running = start({**clock.environment, **environment}, "study", "run", str(file), "--out", str(out), "--no-report")
    try:
        for position, hours in ((1, 1), (2, 0)):
            while not media_flows(out, position):
                assert running.poll() is None, running.communicate()[1]
                time.sleep(0.02)
            clock.step(hours * 3600.0)
        _, messages = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 0, messages

    calls = sorted(Dataset.open(out).calls(), key=lambda call: call.record.call_id)
    assert [call.record.outcome for call in calls] == ["completed", "completed"]
    delays = {"London": (5, 9), "Sydney": (120, 140)}
    for call in calls:
        assert "the wall clock was set during the call; the times here do not depend on it" in call.record.notes
        low, high = delays[call.record.callee.place]
        for row in call.rows:
            assert row.owd_min_ms is not None
            assert row.owd_p99_ms is not None
            assert low < row.owd_min_ms <= row.owd_p99_ms < high + 60, "not an hour, and not minus an hour"
            assert row.packets_received == row.packets_sent
    starts = [datetime.fromisoformat(call.record.started_at) for call in calls]
    assert (starts[1] - starts[0]).total_seconds() > 3600, "the clock was an hour ahead when the second call began"
    state = start(environment, "study", "status", str(out), "--json")
    printed, _ = state.communicate(timeout=60)
    assert json.loads(printed)["outcomes"] == {"completed": 2}


def media_flows(out: Path, position: int) -> bool:
    """Whether the call that is at this position is on the air and half a second of it is captured."""
    return any(
        file.stat().st_size > 10_000 for file in (out / ".staging").glob(f"*-stepped-{position:05d}-*/caller.pcap")
    )
