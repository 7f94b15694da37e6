"""Faults that need a lab of their own, and commands that are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from testing.commands import EARWITNESS, Run

pytestmark = pytest.mark.lab


def test_a_relay_killed_in_mid_call_and_what_was_measured_until_then(run: Run, tmp_path: Path) -> None:
    ran = run("call", "--inject", "kill-middle@2", "--out", str(tmp_path / "data"))
    assert ran.code == 3
    assert len(ran.complaints) == 1
    assert "circuit" in ran.complaints[0]
    assert {record["outcome"] for record in ran.records} == {"path_lost"}
    # About two seconds of speech had come through, and are kept: captures, traces, sound.
    assert min(record["packets_received"] for record in ran.records) > 50
    assert min(record["owd_p50_ms"] for record in ran.records) > 10
    assert next(iter(Dataset.open(tmp_path / "data").calls())).has("to_callee.wav")


def test_an_exit_that_refuses(run: Run, tmp_path: Path) -> None:
    ran = run("call", "--inject", "exit-refuses", "--out", str(tmp_path / "data"))
    assert ran.code == 3
    assert {record["outcome"] for record in ran.records} == {"stream_refused"}
    assert "EXITPOLICY" in ran.complaints[0]


def test_without_tor_one_line_says_what_to_install(run: Run, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ip", "env", "sh"):
        if (found := shutil.which(name)) is not None:
            (programs / name).symlink_to(found)
    ran = run(
        "call",
        "--out",
        str(tmp_path / "data"),
        environment={"PATH": str(programs), "EARWITNESS_RUNTIME": str(tmp_path)},
    )
    assert ran.code == 3
    assert len(ran.complaints) == 1
    assert "tor" in ran.complaints[0]
    assert "apt" in ran.complaints[0]


def test_kill_at_any_moment_leaves_nothing_and_the_next_run_works(run: Run, runtime: Path, tmp_path: Path) -> None:
    """kill -9 of the command ten times; every process that it had started carries its mark in the environment."""
    chance = random.Random(20)
    out = tmp_path / "data"
    arguments = [*EARWITNESS, "call", "--path", "direct", "--seconds", "4", "--out", str(out), "--json"]
    for _ in range(10):
        mark = f"EARWITNESS_TEST_MARK={chance.getrandbits(64):016x}"
        name, _, value = mark.partition("=")
        environment = {**os.environ, "EARWITNESS_RUNTIME": str(runtime), name: value}
        running = subprocess.Popen(
            arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(chance.uniform(0.1, 7.0))
        running.send_signal(signal.SIGKILL)
        running.wait()
        deadline = time.monotonic() + 5.0
        while (left := _marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left
    ran = run("call", "--path", "direct", "--seconds", "4", "--out", str(out))
    assert ran.code == 0, ran.messages
    assert not list((out / ".staging").iterdir())
    assert Dataset.open(out).problems() == []


def _marked(mark: str) -> list[int]:
    """Processes with this in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue
    return found
