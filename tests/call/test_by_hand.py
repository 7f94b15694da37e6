"""Calls with phones that somebody else runs: here linphonec, started as its user would."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testing.commands import EARWITNESS, Run

pytestmark = pytest.mark.lab


class ByHand:
    """`earwitness call --phone manual`, and what it tells to do."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.environment = environment
        self._keyboard, terminal = os.openpty()
        self.process = subprocess.Popen(
            [*EARWITNESS, "call", "--phone", "manual", "--path", "direct", *arguments, "--json"],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        self.told: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.told.extend(self.process.stderr)

    def until(self, text: str, timeout_s: float = 30.0) -> str:
        """Wait until it tells this; all that it told."""
        deadline = time.monotonic() + timeout_s
        while text not in (told := "".join(self.told)):
            assert time.monotonic() < deadline, told
            assert self.process.poll() is None, told
            time.sleep(0.1)
        return told

    @contextmanager
    def linphone(self, host: str, *commands: str) -> Iterator[None]:
        """The line that it tells for a host, run, and these commands typed."""
        (line,) = re.findall(rf"earwitness (lab run {host} -- env .*)", self.until("waiting for your phones"))
        running = subprocess.Popen(
            [*EARWITNESS, *line.split()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )
        assert running.stdin is not None
        try:
            time.sleep(4)
            for one in commands:
                running.stdin.write(one.encode() + b"\n")
                running.stdin.flush()
            yield
            running.stdin.write(b"terminate\nquit\n")
            running.stdin.close()
            running.wait(60)
        finally:
            running.kill()
            running.wait()

    def press_ctrl_c(self) -> None:
        """On its terminal: every process of the command's group has it."""
        os.write(self._keyboard, b"\x03")

    def ended(self, timeout_s: float = 60.0) -> tuple[int, str, str]:
        """Exit code, standard output, and all that it told."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        code = self.process.wait(timeout_s)
        self._reader.join()
        os.close(self._keyboard)
        return code, output, "".join(self.told)


@pytest.fixture
def environment(run: Run, tmp_path: Path) -> Iterator[dict[str, str]]:
    """With a lab of this test's own that is up."""
    own = {"EARWITNESS_RUNTIME": str(tmp_path / "runtime")}
    Path(own["EARWITNESS_RUNTIME"]).mkdir()
    up = run("lab", "up", "--no-tor", environment=own)
    assert up.code == 0, up.messages
    try:
        yield {**os.environ, **own, "COLUMNS": "200"}
    finally:
        assert run("lab", "down", environment=own).code == 0


@pytest.mark.skipif(shutil.which("linphonec") is None, reason="linphonec is not installed")
def test_linphones_by_hand_are_scored_in_their_own_codec(environment: dict[str, str], tmp_path: Path) -> None:
    call = ByHand(environment, "--seconds", "8", "--out", str(tmp_path / "data"))
    told = call.until("waiting for your phones")
    speech = re.findall(r"Let each phone play (\S+)", told)[0]
    (uri,) = re.findall(r"dial (\S+)", told)
    # They come with the planned codec alone, 0; the user prefers another.
    files = ("codec disable 0", "codec enable 1", "soundcard use files", f"play {speech}")
    dial = f"call {uri}"
    with call.linphone("callee", *files, "autoanswer enable"), call.linphone("caller", *files, dial):
        call.until("your phones talk")
        time.sleep(9)
    code, output, told = call.ended()
    rows = [json.loads(line) for line in output.splitlines()]
    assert code == 0, told
    assert [row["direction"] for row in rows] == ["to_callee", "to_caller"]
    for row in rows:
        assert (row["phone"], row["outcome"]) == ("manual", "completed")
        assert row["codec"] == "g711a"
        assert row["packets_received"] > 400
        assert row["mos_lqo"] > 3.0
        assert 20 < row["answer_delay_ms"] < 2000


def test_ctrl_c_while_waiting_ends_the_call_and_keeps_it(environment: dict[str, str], tmp_path: Path) -> None:
    call = ByHand(environment, "--out", str(tmp_path / "data"))
    call.until("waiting for your phones")
    time.sleep(1)
    call.press_ctrl_c()
    code, output, told = call.ended()
    assert code == 3, told
    assert output.count('"outcome":"no_media"') + output.count('"outcome": "no_media"') == 2
    assert "Ctrl-C" in told


@pytest.mark.skipif(shutil.which("linphonec") is None, reason="linphonec is not installed")
def test_ctrl_c_in_mid_call_ends_it_and_scores_what_came(environment: dict[str, str], tmp_path: Path) -> None:
    call = ByHand(environment, "--seconds", "8", "--out", str(tmp_path / "data"))
    told = call.until("waiting for your phones")
    speech = re.findall(r"Let each phone play (\S+)", told)[0]
    (uri,) = re.findall(r"dial (\S+)", told)
    files = ("soundcard use files", f"play {speech}")
    with (
        call.linphone("callee", *files, "autoanswer enable"),
        call.linphone("caller", *files, f"call {uri}"),
    ):
        call.until("your phones talk")
        time.sleep(9)
        call.press_ctrl_c()
        code, output, told = call.ended()
    assert code == 0, told
    rows = [json.loads(line) for line in output.splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert (row["codec"], row["outcome"]) == ("g711u", "completed")
        assert row["loss_ratio"] == 0  # what was on the way when the capture ended was not lost
        assert row["mos_lqo"] > 3.0


def test_nobody_comes(environment: dict[str, str], tmp_path: Path) -> None:
    call = ByHand(environment, "--wait", "2", "--out", str(tmp_path / "data"))
    code, _, told = call.ended()
    assert code == 3, told
    assert "none in 2 s" in told


def test_a_phone_that_is_run_on_a_host_has_the_terminal(environment: dict[str, str]) -> None:
    keyboard, terminal = os.openpty()
    with subprocess.Popen(
        [*EARWITNESS, "lab", "run", "caller", "--", "head", "-n1"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as running:
        os.close(terminal)
        os.write(keyboard, b"typed\n")
        try:
            assert running.communicate(timeout=20)[0] == b"typed\n"
        finally:
            running.kill()
            os.close(keyboard)


def test_without_a_lab_that_is_up_there_is_nothing_to_join(run: Run, tmp_path: Path) -> None:
    asked = run("call", "--phone", "manual", "--path", "direct", environment={"EARWITNESS_RUNTIME": str(tmp_path)})
    assert asked.code == 2
    assert "earwitness lab up --no-tor" in asked.complaints[0]
