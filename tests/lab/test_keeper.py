"""A lab that stays up: other commands join it, and when it is ended or killed nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from earwitness.errors import EarwitnessError
from earwitness.lab import keeper
from earwitness.lab.plan import LabPlan
from earwitness.netns.joining import run_joined
from earwitness.netns.private import runtime_dir
from earwitness.netns.process_identity import ProcessIdentity, processes_in
from testing.commands import EARWITNESS
from testing.netns.leftovers import Token, machine_state

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """`earwitness ...` with a runtime directory of its own; whatever is still up at the end is killed."""
    monkeypatch.setenv("EARWITNESS_RUNTIME", str(tmp_path / "runtime"))
    environment = {**token.environment, "EARWITNESS_RUNTIME": str(tmp_path / "runtime")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [*EARWITNESS, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)

    yield run
    for pid in token.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
def test_up_status_run_down(cli: Cli, token: Token, tmp_path: Path) -> None:
    before = machine_state()
    began = cli("lab", "up", "--no-tor", "--from", "Sydney", "--link", "caller>callee:delay=10", "--json")
    assert began.returncode == 0, began.stderr
    assert [host["name"] for host in json.loads(began.stdout)["hosts"]] == ["caller", "callee", "server"]

    again = cli("lab", "up", "--no-tor")
    assert again.returncode == 1
    assert "one is up already" in again.stderr

    status = json.loads(cli("lab", "status", "--json").stdout)
    assert status["well"] is True
    assert status["hosts"][0]["place"] == "Sydney"

    ran = cli("lab", "run", "callee", "sh", "-c", "ip -br address; exit 5")
    assert "10.77.2.1/16" in ran.stdout
    assert ran.returncode == 5
    assert "not in this lab" in cli("lab", "run", "nobody", "true").stderr

    ended = cli("lab", "down", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["left"]) == (0, [])
    assert token.processes() == []
    assert not (tmp_path / "runtime").exists()
    assert cli("lab", "status", "--json").stdout == '{"state": "down"}\n'
    assert machine_state() == before


@pytest.mark.lab
@pytest.mark.usefixtures("permitted", "cli")
def test_joined_commands_share_the_lab_and_die_with_their_own_command(token: Token) -> None:
    os.environ.update({"EARWITNESS_TEST_TOKEN": token.value})
    try:
        record = keeper.start_keeper(LabPlan(with_tor=False))
        with pytest.raises(EarwitnessError, match="one is up already"):
            keeper.start_keeper(LabPlan(with_tor=False))
        script = (
            "import time; from earwitness.lab.lab import Lab\nwith Lab.joined() as lab:\n p = lab.host('caller').popen"
        )
        script += "(['sleep', '999'])\n print('in', flush=True)\n time.sleep(999)"
        join = (
            "import sys; from earwitness.netns.joining import run_joined; from earwitness.lab.keeper import current\n"
            "sys.exit(run_joined(current().init, sys.argv[1:]))"
        )
        kept = set(token.processes())
        argv = [sys.executable, "-c", join, sys.executable, "-c", script]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as joined:
            assert joined.stdout is not None
            assert joined.stdout.readline() == b"in\n"
            assert len(set(token.processes()) - kept) >= 4  # outer, guard, command, sleep
            joined.kill()
        deadline = time.monotonic() + 10
        while set(token.processes()) - kept and time.monotonic() < deadline:
            time.sleep(0.02)
        assert set(token.processes()) == kept
        assert run_joined(record.init, ["sh", "-c", "exit 3"]) == 3

        # Two commands ask for the lab: the second waits, and has it arranged for its own plan.
        asking = (
            "import asyncio, sys; from earwitness.lab.plan import LabPlan; from earwitness.lab.session import lab_for\n"
            "async def ask():\n"
            "    plan = LabPlan(with_tor=False, caller_place=sys.argv[1])\n"
            "    async with lab_for(plan, lambda event: print(event.stage, flush=True)) as lab:\n"
            "        print(lab.host('caller').place, flush=True); await asyncio.to_thread(sys.stdin.read)\n"
            "asyncio.run(ask())"
        )
        asks = [sys.executable, "-c", join, sys.executable, "-c", asking]
        pipe = subprocess.PIPE
        with subprocess.Popen([*asks, "Sydney"], stdin=pipe, stdout=pipe, text=True) as first:
            assert first.stdin is not None
            assert first.stdout is not None
            assert [first.stdout.readline() for _ in range(2)] == ["joined the lab that is up\n", "Sydney\n"]
            with subprocess.Popen([*asks, "Seoul"], stdin=pipe, stdout=pipe, text=True) as second:
                assert second.stdin is not None
                assert second.stdout is not None
                assert second.stdout.readline() == "waiting for another command that uses the lab\n"
                first.stdin.close()
                assert [second.stdout.readline() for _ in range(2)] == ["joined the lab that is up\n", "Seoul\n"]
                second.stdin.close()

        # The keeper is killed while a command is joined: both go, and the next look says that none is up.
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as joined:
            assert joined.stdout is not None
            joined.stdout.readline()
            os.kill(record.keeper.pid, signal.SIGKILL)
            assert joined.wait(20) == 128 + 9
        deadline = time.monotonic() + 10
        while processes_in(record.namespaces) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert keeper.current() is None
        assert not (runtime_dir() / "lab.json").exists()
    finally:
        del os.environ["EARWITNESS_TEST_TOKEN"]


@pytest.mark.lab
@pytest.mark.usefixtures("permitted", "cli")
def test_a_lab_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no tor there
    with pytest.raises(EarwitnessError, match="tor"):
        keeper.start_keeper(LabPlan())
    assert keeper.current() is None


def test_a_process_is_known_by_more_than_its_number() -> None:
    with subprocess.Popen(["sleep", "100"]) as process:
        identity = ProcessIdentity.of(process.pid)
        impostor = ProcessIdentity(process.pid, identity.started + 1)
        assert identity.alive()
        assert not impostor.alive()
        assert impostor.end(signal.SIGKILL, 1.0)  # nothing to end, and nothing was hit
        assert process.poll() is None
        assert identity.end(signal.SIGKILL, 5.0)
        process.wait()
    assert not identity.alive()
    with pytest.raises(EarwitnessError, match="does not exist"):
        ProcessIdentity.of(process.pid)
