"""Running things inside a sandbox from a test, and looking for what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.errors import EarwitnessError
from earwitness.lab import sandbox

EXPERIMENTS = Path(__file__).with_name("experiments.py")
OUTER = "import sys; from earwitness.lab.sandbox import run_inside; sys.exit(run_inside(sys.argv[1:]))"


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skip where this machine does not permit a sandbox at all; `earwitness doctor` says the same."""
    try:
        sandbox.check_permitted()
        code = subprocess.run([sys.executable, "-c", OUTER, "true"], capture_output=True, timeout=60, check=False)
    except EarwitnessError as error:
        pytest.skip(str(error))
    if code.returncode != 0:
        pytest.skip(f"no sandbox here: {code.stderr.decode().strip().splitlines()[-1:]}")


@pytest.fixture
def experiment(permitted: None) -> Callable[..., Any]:
    """Run a function of experiments.py inside a sandbox; returns what it returned."""

    def run(name: str, **arguments: Any) -> Any:
        argv = [sys.executable, "-c", OUTER, sys.executable, str(EXPERIMENTS), name, json.dumps(arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


class Token:
    """A mark in the environment of everything that a test starts, to find what is left of it."""

    def __init__(self) -> None:
        self.value = uuid.uuid4().hex
        self.environment = {**os.environ, "EARWITNESS_TEST_TOKEN": self.value}

    def processes(self) -> list[int]:
        """Ids of the processes that bear the mark and are not zombies."""
        found = []
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                try:
                    if self.value.encode() in (directory / "environ").read_bytes():
                        found.append(int(directory.name))
                except OSError:
                    continue
        return found


@pytest.fixture
def token() -> Token:
    return Token()


def machine_state() -> dict[str, list[str]]:
    """What a sandbox could leave on the machine: mounts, named network namespaces, devices, entries of /run."""

    def names(directory: str) -> list[str]:
        return sorted(path.name for path in Path(directory).iterdir()) if Path(directory).is_dir() else []

    mount_points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "mounts": [point for point in mount_points if point.startswith(("/run", "/proc", "/mnt"))],
        "namespaces": names("/run/netns"),
        "devices": names("/sys/class/net"),
        "run": names("/run"),
    }
