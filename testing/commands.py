"""Commands as their users run them: each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parents[1]
MAIN = "from earwitness.cli.main import main; main()"
EARWITNESS = (sys.executable, "-c", MAIN)
"""`earwitness`, where it may not be on the PATH."""
INSIDE = (
    sys.executable,
    "-c",
    "import sys; from earwitness.netns.sandbox import run_inside; sys.exit(run_inside(sys.argv[1:]))",
)
"""Runs the command that follows in a sandbox."""
EXPERIMENTS = REPOSITORY / "testing" / "netns" / "experiments.py"
"""Functions to be run in a sandbox, by name."""


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


def run_module(name: str, *arguments: object, within_s: float = 580.0) -> subprocess.CompletedProcess[str]:
    """Run a module of the repository as a program; raises `AssertionError` with what it printed where it fails."""
    argv = [sys.executable, "-m", name, *map(str, arguments)]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=within_s, env=with_repository(), check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def report_of(name: str, folder: Path, within_s: float = 580.0) -> dict[str, Any]:
    """What a module, run as a program with `folder` as its argument, writes into the folder's report.json."""
    run_module(name, folder, within_s=within_s)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def read_until(stream: IO[str] | None, said: str) -> None:
    """Read lines of a process's output to the first one with `said`; raises `AssertionError` if there is none."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if said in line:
            return
    raise AssertionError(f"it never said {said!r}: {lines}")


def extract(archive: tarfile.TarFile, into: Path) -> None:
    """Extract an archive of ours; Debian 12's Python 3.11.2 has no extraction filters yet."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(into, filter="data")
    else:
        archive.extractall(into)


def with_repository() -> dict[str, str]:
    """This environment, in which a program from anywhere finds the modules of the repository."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{path}" if path else str(REPOSITORY)}
