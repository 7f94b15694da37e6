"""A command line in a lab of the tests' own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from testing.commands import EARWITNESS, Ran, Run


@pytest.fixture(scope="session")
def runtime(permitted: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' lab keeps its record, apart from the user's."""
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="session")
def run(runtime: Path) -> Run:
    """Run `earwitness ARGUMENTS --json`."""

    def run_it(*arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 170.0) -> Ran:
        done = subprocess.run(
            [*EARWITNESS, *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "EARWITNESS_RUNTIME": str(runtime), "COLUMNS": "200", **(environment or {})},
            check=False,
        )
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return Ran(done.returncode, records, done.stderr)

    return run_it


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
