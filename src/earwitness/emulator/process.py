"""Starts and ends the emulator process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from earwitness.emulator.client import EmulatorClient
from earwitness.emulator.control import SOCKET_NAME
from earwitness.errors import EarwitnessError
from earwitness.netns.owned import start_owned

START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 3.0


@contextlib.contextmanager
def running_emulator(state_dir: Path, seed: int) -> Iterator[EmulatorClient]:
    """Run an emulator that serves `state_dir` until the block ends; it is killed if this process is.

    Raises:
        EarwitnessError: it did not start; contains the last line of its log.
    """
    log = state_dir / "emulator.log"
    with log.open("wb") as output:
        process = start_owned(
            [sys.executable, "-m", "earwitness.emulator", str(state_dir), str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _await_socket(process, state_dir, log)
        client = EmulatorClient(state_dir)
        try:
            yield client
        finally:
            with contextlib.suppress(EarwitnessError, subprocess.TimeoutExpired):
                client.stop()
                process.wait(_STOP_TIMEOUT_S)
            client.close()
    finally:
        process.kill()
        process.wait()


def _await_socket(process: subprocess.Popen[bytes], state_dir: Path, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (state_dir / SOCKET_NAME).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            raise EarwitnessError("starting", "the network emulator", lines[-1], f"see the full log in {log}")
        time.sleep(0.005)
