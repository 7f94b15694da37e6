"""Commands that place calls or serve, through the real command line: what they print, and what they refuse."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from earwitness.remote.machine import may_make_devices
from testing.cli.command_line import earwitness, output, records, refusal, start
from testing.study.files import study_file

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

STUDY = study_file("tiny", "[call]\nseconds = 4\nrtt_probes = 0\n[watch]\nevery_min = 1\n")


@pytest.fixture
def runtime(tmp_path: Path, permitted: None) -> Iterator[dict[str, str]]:
    """A runtime directory of the test's own, in a sandbox that this machine permits; what is up in it is ended."""
    environment = {"EARWITNESS_RUNTIME": str(tmp_path / "runtime")}
    yield environment
    earwitness("lab", "down", **environment)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
    """What a command printed that was asked to stop."""
    process.send_signal(number)
    try:
        return process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """The first line of its messages that has these words."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if words in line:
            return line
    raise AssertionError(f"it ended, and said: {''.join(seen)}")


def test_call_places_one_in_a_lab_that_is_up(runtime: dict[str, str], tmp_path: Path) -> None:
    hosts = output("lab", "up", "--no-tor", "--to", "London", **runtime)
    assert hosts.split()[:3] == ["caller", "plain", "Frankfurt,"] or "London" in hosts
    (health,) = records("lab", "status", **runtime)
    assert health["state"] == "up"
    assert health["problems"] == []
    assert output("lab", "run", "caller", "echo", "there", **runtime) == "there\n"
    options = ("--path", "direct", "--to", "London", "--seconds", "4", "--out", tmp_path / "set")
    rows = records("call", *options, **runtime)
    assert [row["direction"] for row in rows] == ["to_callee", "to_caller"]
    assert {row["outcome"] for row in rows} == {"completed"}
    assert refusal("call", *options, "--seconds", "2", **runtime).startswith("--seconds: ")
    assert output("lab", "down", **runtime).startswith("the lab is down")
    assert output("lab", "down", **runtime) == "no lab is up\n"


def test_lab_refuses_what_cannot_be(runtime: dict[str, str]) -> None:
    assert refusal("lab", "up", "--relays", "2", **runtime).startswith("--relays: ")
    for command in (("lab", "status"), ("lab", "run", "caller", "true")):
        ran = earwitness(*command, **runtime)
        assert ran.returncode == 1
        assert ran.stdout == "no lab is up\n"


def test_study_run_stores_its_calls_and_watch_serves_metrics(runtime: dict[str, str], tmp_path: Path) -> None:
    file, port = tmp_path / "study.toml", free_port()
    file.write_text(STUDY)
    rows = records("study", "run", file, "--out", tmp_path / "set", "--no-report", **runtime)
    assert {row["outcome"] for row in rows} == {"completed"}
    assert refusal("study", "run", tmp_path / "none.toml", "--out", tmp_path / "set")
    watching = start(runtime, "watch", file, "--out", tmp_path / "days", "--metrics", f"127.0.0.1:{port}")
    try:
        line_with(watching, "1 block")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"earwitness_" in answer.read()
    finally:
        _, messages = stopped(watching)
    assert watching.returncode == 130, messages
    bad = refusal("watch", file, "--metrics", "nowhere", "--out", tmp_path / "other", **runtime)
    assert bad.startswith("--metrics: ")


def test_answer_makes_keys_and_waits(tmp_path: Path) -> None:
    (made,) = records("answer", "--init", tmp_path / "keys", "--reached-at", "192.0.2.7")
    assert Path(made["invitation"]).is_file()
    if not may_make_devices():
        pytest.skip("a machine that answers needs network devices")
    where = ("--listen", f"127.0.0.1:{free_port()}", "--keys", tmp_path / "keys", "--store", tmp_path / "store")
    serving = start({}, "answer", *where)
    try:
        assert "127.0.0.1" in line_with(serving, "127.0.0.1")
        # Nobody called, so that there is nothing to fetch; the answer is of the machine that was asked.
        ran = earwitness("fetch", "some-call", "--to", where[1], "--invitation", made["invitation"], "--out", tmp_path)
        assert ran.returncode != 0
        assert ran.stderr.count("\n") == 1
        assert "some-call" in ran.stderr
    finally:
        _, messages = stopped(serving, signal.SIGTERM)
    assert "Traceback" not in messages
    assert refusal("answer", "--media-port", "99999").startswith("--media-port: ")
    missing = refusal("fetch", "some-call", "--to", "127.0.0.1", "--invitation", tmp_path / "none.json")
    assert missing.startswith("reading the invitation")


def test_cluster_keys_scheduler_and_vantage(tmp_path: Path) -> None:
    keys, port = tmp_path / "keys", free_port()
    made = records("cluster", "init", keys, "--vantage", "frankfurt")
    assert {Path(one["keys"]).name for one in made} >= {"scheduler", "client", "vantage-frankfurt"}
    assert refusal("cluster", "init", keys).startswith("--vantage: ")
    address = ("--cluster", f"tls://127.0.0.1:{port}")
    scheduler = start({}, "cluster", "schedule", "--keys", keys / "scheduler", "--listen", f"127.0.0.1:{port}")
    vantage: subprocess.Popen[str] | None = None
    try:
        line_with(scheduler, str(port))
        assert "0 vantages; 0 processes score" in output("cluster", "show", *address, "--keys", keys / "client")
        taken = refusal("cluster", "schedule", "--keys", keys / "scheduler", "--listen", f"127.0.0.1:{port}")
        assert taken.startswith("--listen: ")
        if may_make_devices():
            own = ("--keys", keys / "vantage-frankfurt", "--listen", f"127.0.0.1:{free_port()}")
            vantage = start({}, "vantage", "--at", "Frankfurt", *address, *own, "--scorers", "0", "--store", tmp_path)
            line_with(vantage, "Frankfurt")
            shown: list[str] = []
            for _ in range(60):
                shown = output("cluster", "show", *address, "--keys", keys / "client").splitlines()
                if len(shown) > 1:
                    break
                time.sleep(0.5)
            assert shown[0].startswith("Frankfurt")
            assert refusal("vantage", "--at", "Nowhere at all", *address, *own, "--scorers", "0").startswith("--at: ")
    finally:
        for process in filter(None, (vantage, scheduler)):
            stopped(process, signal.SIGTERM)
    plain = refusal("cluster", "show", "--cluster", "tcp://127.0.0.1:1", "--keys", keys / "client")
    assert plain.startswith("--cluster: ")


def test_demo_refuses_a_folder_that_is_not_a_data_set_before_anything_starts(tmp_path: Path) -> None:
    other = tmp_path / "notes"
    other.mkdir()
    (other / "diary.txt").write_text("mine")
    begun = time.monotonic()
    ran = earwitness("demo", "--out", other, "--json")
    assert ran.returncode == 2, ran.stderr
    assert str(other) in ran.stderr
    assert ran.stdout == ""
    assert time.monotonic() - begun < 60
    assert {path.name for path in other.iterdir()} <= {"diary.txt", ".lock"}
    assert (other / "diary.txt").read_text() == "mine"
