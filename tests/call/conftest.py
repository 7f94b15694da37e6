"""A command line in a lab of the tests' own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from earwitness.errors import EarwitnessError
from earwitness.netns.sandbox import check_permitted


@dataclass(frozen=True)
class Ran:
    """What a command gave."""

    code: int
    records: list[dict[str, Any]]
    messages: str

    @property
    def complaints(self) -> list[str]:
        """The lines that tell an error."""
        return [line for line in self.messages.splitlines() if line.startswith("earwitness: ")]


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' lab keeps its record, apart from the user's."""
    try:
        check_permitted()
    except EarwitnessError as error:
        pytest.skip(f"no lab on this machine: {error}")
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="session")
def run(runtime: Path) -> Run:
    """Run `earwitness ARGUMENTS --json`."""

    def run_it(*arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 170.0) -> Ran:
        done = subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "EARWITNESS_RUNTIME": str(runtime), "COLUMNS": "200", **(environment or {})},
            check=False,
        )
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return Ran(done.returncode, records, done.stderr)

    return run_it


def command(*arguments: str) -> list[str]:
    """The command line of an earwitness command that prints JSON."""
    return [sys.executable, "-c", "from earwitness.cli.main import main; main()", *arguments, "--json"]


@pytest.fixture(scope="session")
def tor_lab(run: Run, runtime: Path) -> Iterator[None]:
    """A lab that is up, with Tor, for all tests that do no harm to it."""
    up = run("lab", "up")
    assert up.code == 0, up.messages
    try:
        yield
    finally:
        down = run("lab", "down")
        assert down.code == 0, down.messages
