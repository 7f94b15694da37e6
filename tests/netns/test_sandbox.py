"""Everything that a sandboxed command starts dies with it, however it dies."""

from __future__ import annotations

import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from earwitness.errors import EarwitnessError
from earwitness.netns import sandbox, tun
from testing.commands import EXPERIMENTS, INSIDE, MAIN, REPOSITORY
from testing.netns.leftovers import Token, machine_state

pytestmark = pytest.mark.lab


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    argv = [*INSIDE, *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **options)


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def lingering(permitted: None, token: Token) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a lab with stubborn processes in it; killed at the end of the test if need be."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        argv = [*INSIDE, sys.executable, str(EXPERIMENTS), "linger", "{}"]
        started.append(subprocess.Popen(argv, env=token.environment, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.usefixtures("permitted")
class TestTheCommandInside:
    def test_exit_codes_streams_and_directory_are_its_own(self, tmp_path: Path) -> None:
        done = run("sh", "-c", "read line; echo out $line $PWD; echo err >&2; exit 7", input="in\n", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (7, f"out in {tmp_path}\n", "err\n")
        assert run("sh", "-c", "kill -9 $$").returncode == 128 + 9
        (tmp_path / "kept").unlink(missing_ok=True)
        assert run("sh", "-c", f"echo result > {tmp_path}/kept").returncode == 0
        assert (tmp_path / "kept").read_text() == "result\n"

    def test_a_command_that_is_not_there_is_one_line(self) -> None:
        done = run("no-such-command-here")
        assert "EarwitnessError: running no-such-command-here: No such file or directory" in done.stderr

    def test_it_sees_only_itself(self) -> None:
        script = (
            "from pathlib import Path; from earwitness.netns.sandbox import in_sandbox\n"
            "devices = Path('/proc/net/dev').read_text().count(':')\n"
            "print(in_sandbox(), devices, sum(p.name.isdigit() for p in Path('/proc').iterdir()) < 5)"
        )
        assert run(sys.executable, "-c", script).stdout == "True 1 True\n"
        assert not sandbox.in_sandbox()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_are_passed_on(self, number: signal.Signals) -> None:
        script = (
            "import signal,sys,time\n"
            f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
            "print('ready', flush=True)\ntime.sleep(60)"
        )
        argv = [*INSIDE, sys.executable, "-c", script]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            assert process.wait(20) == 42

    def test_the_original_network_is_reached_through_the_helper_only(self) -> None:
        script = (
            "import os, socket, sys; from earwitness.netns import egress_service; "
            "from earwitness.netns.sandbox import STATE_DIR\n"
            "address = ('127.0.0.1', int(sys.argv[1]))\n"
            "print(socket.socket().connect_ex(address) != 0)\n"
            "s = egress_service.open_socket(STATE_DIR); s.connect(address); s.send(b'hello')\n"
            "pid = egress_service.spawn(STATE_DIR, ['sh', '-c', 'echo spawned $0 $PWD', 'x'])\n"
            "import select; select.select([os.pidfd_open(pid)], [], [], 10)"
        )
        with socket.create_server(("127.0.0.1", 0)) as server:
            done = run(sys.executable, "-c", script, str(server.getsockname()[1]))
            assert done.stdout.splitlines() == ["True", f"spawned x {Path.cwd()}"], done.stderr
            server.settimeout(10)
            connection, _ = server.accept()
            with connection:
                assert connection.recv(9) == b"hello"

    def test_what_the_helper_starts_may_have_a_sandbox_of_its_own(self) -> None:
        script = (
            "import os, select, sys; from earwitness.netns import egress_service; "
            "from earwitness.netns.sandbox import STATE_DIR\n"
            'own = \'from earwitness.netns.sandbox import run_inside; run_inside(["echo", "in"])\'\n'
            "pid = egress_service.spawn(STATE_DIR, [sys.executable, '-c', own])\n"
            "print(bool(select.select([os.pidfd_open(pid)], [], [], 30)[0]))"
        )
        done = run(sys.executable, "-c", script)
        assert done.stdout.splitlines() == ["in", "True"], done.stderr


def test_kill_9_at_random_moments_leaves_nothing(lingering: Any, token: Token) -> None:
    before = machine_state()
    moments = random.Random(2)
    for latest_s in (0.4, 0.4, 0.4, 0.8, 0.8, 1.5, 1.5):  # most of them while the namespaces are being made
        outer = lingering()
        time.sleep(moments.uniform(0.0, latest_s))
        outer.kill()
        outer.wait()
        assert eventually(lambda: not token.processes()), token.processes()
    assert machine_state() == before


@pytest.mark.parametrize("victim", ["guard", "init", "command"])
def test_kill_9_anywhere_in_the_chain_leaves_nothing(lingering: Any, token: Token, victim: str) -> None:
    before = machine_state()
    outer = lingering()
    assert outer.stdout.readline() == b"lingering\n"
    assert len(token.processes()) > 8
    guard = children_of(outer.pid)[0]
    init = children_of(guard)[0]
    command = next(pid for pid in children_of(init) if arguments_of(pid)[1:3] == [str(EXPERIMENTS), "linger"])
    os.kill({"guard": guard, "init": init, "command": command}[victim], signal.SIGKILL)
    assert outer.wait(20) == 128 + 9
    assert eventually(lambda: not token.processes()), token.processes()
    assert machine_state() == before


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def arguments_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_a_missing_or_forbidden_device_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tun, "TUN_CLONE_DEVICE", str(tmp_path / "absent"))
    with pytest.raises(EarwitnessError, match="modprobe tun"):
        sandbox.check_permitted()


# -- without root ----------------------------------------------------------------------------------------

_TRUE_INSIDE = shlex.join((*INSIDE, "true"))
_AS_NOBODY = REPOSITORY / "testing" / "netns" / "as_nobody.py"


def as_nobody(mode: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run as nobody with a /dev/net/tun of that mode, in a private mount namespace where nobody may read us."""
    argv = ["unshare", "--mount", sys.executable, str(_AS_NOBODY), mode, *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: every other test here already runs without root")
    setting = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if setting.exists() and setting.read_text().strip() != "0":
        pytest.skip("user namespaces of unprivileged users are off here (AppArmor)")


@pytest.mark.usefixtures("permitted", "root")
class TestWithoutRoot:
    def test_a_whole_lab(self) -> None:
        done = as_nobody("666", *INSIDE, sys.executable, str(EXPERIMENTS), "moving", "{}")
        assert done.returncode == 0, done.stderr
        assert "Sydney" in done.stdout

    def test_a_lab_that_stays_up_is_joined(self, tmp_path: Path) -> None:
        cli = f"{sys.executable} -c '{MAIN}' lab"
        script = (
            f"export EARWITNESS_RUNTIME=$(mktemp -d)/r; {cli} up --no-tor && {cli} run caller ip -br addr; {cli} down"
        )
        done = as_nobody("666", "sh", "-c", script)
        assert "10.77.1.1/16" in done.stdout, done.stderr
        assert "processes left in its 8 namespaces: 0" in done.stdout

    def test_a_forbidden_device(self) -> None:
        done = as_nobody("600", *INSIDE, "true")
        assert done.returncode != 0
        assert "chmod 0666 /dev/net/tun" in done.stderr

    def test_user_namespaces_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # In a user namespace whose own limit of further ones is 0 (namespaces(7)), as a sysctl would set it.
        unprivileged = f"setpriv --bounding-set=-all --inh-caps=-all {_TRUE_INSIDE}"
        script = f"echo 0 > /proc/sys/user/max_user_namespaces && exec {unprivileged}"
        done = as_nobody("666", "unshare", "--user", "--map-root-user", "sh", "-c", script)
        assert done.returncode != 0
        assert "user.max_user_namespaces is 0; run `sudo sysctl -w user.max_user_namespaces=10000`" in done.stderr
