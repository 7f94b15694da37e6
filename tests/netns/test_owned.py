"""Processes end with the one that started them, and so does what they forked, whoever of them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from earwitness.netns.owned import start_owned

_OWNER = """
import subprocess, sys, threading, time
from earwitness.netns.owned import start_owned
def start():
    server = start_owned(["sh", "-c", "sleep 600 & (sleep 600 & wait) & wait"], forks=True, start_new_session=True,
                         env={"TOKEN": sys.argv[1]}, stdout=subprocess.DEVNULL)
    print(server.pid, flush=True)
threading.Thread(target=start).start() if sys.argv[2] == "thread" else start()
time.sleep(600)
"""
_WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def marked(token: str) -> list[int]:
    """Processes with TOKEN=`token` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"TOKEN={token}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def owner(token: str, where: str, *before: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    argv = [*before, sys.executable, "-c", _OWNER, token, where]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            server = int(process.stdout.readline())
            assert eventually(lambda: len(marked(token)) == 4)
            yield process, server
        finally:
            process.kill()
            for left in marked(token):
                os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("rights", [[], _WITHOUT_RIGHTS], ids=["rights", "none"])
@pytest.mark.parametrize("victim", ["owner", "server"])
def test_what_a_program_forked_ends_too(tmp_path: Path, where: str, rights: list[str], victim: str) -> None:
    if rights and os.geteuid() != 0:
        pytest.skip("not root: the other case is this one")
    token = str(tmp_path)
    with owner(token, where, *rights) as (process, server):
        os.kill(process.pid if victim == "owner" else server, signal.SIGKILL)
        assert eventually(lambda: not marked(token)), marked(token)


def gone(token: str) -> bool:
    return not marked(token)


def test_a_kill_at_any_moment_of_the_start_leaves_nothing(tmp_path: Path) -> None:
    for delay_ms in range(0, 200, 10):
        token = f"{tmp_path}-{delay_ms}"
        argv = [sys.executable, "-S", "-c", _OWNER, token, "main"]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
            time.sleep(0.05 + delay_ms / 1000)
            process.kill()
        assert eventually(partial(gone, token))


def test_streams_exit_codes_and_signals_are_as_ever() -> None:
    script = "trap 'exit 7' TERM; read line; echo err >&2; echo out $line; while :; do sleep 0.05; done"
    pipe = subprocess.PIPE
    process = start_owned(["sh", "-c", script], forks=True, stdin=pipe, stdout=pipe, stderr=pipe)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"in\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"out in\n"
        assert os.getpgid(process.pid) == process.pid
        process.terminate()
        assert process.communicate(timeout=20) == (b"", b"err\n")
        assert process.returncode == 7
    with start_owned(["sleep", "600"], forks=True) as process:
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


def test_the_next_process_of_the_owner_is_in_its_own_namespace_again() -> None:
    script = "import os; print(os.readlink('/proc/self/ns/pid'))"
    own = str(Path("/proc/self/ns/pid").readlink())
    for forks, same in ((True, False), (False, True), (True, False)):
        with start_owned([sys.executable, "-c", script], forks=forks, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            # Without root there is no namespace of its own to be had.
            assert (process.stdout.read().decode().strip() == own) is (same or os.geteuid() != 0)


def test_a_program_that_is_not_there() -> None:
    for forks in (False, True):
        with pytest.raises(FileNotFoundError):
            start_owned(["/no/such/program"], forks=forks)
