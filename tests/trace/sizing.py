"""Files that are too much, and what reading one costs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SAFE_BYTES = 4 << 30
"""Address space of what is measured, so that a bomb that goes off harms nobody else."""


@dataclass(frozen=True)
class Cost:
    """How a command ended, and its peak memory."""

    code: int
    out: str
    error: str
    peak_mib: float

    @property
    def lines(self) -> list[str]:
        """What it said on standard error."""
        return self.error.strip().splitlines()


def run(*arguments: object, pass_fds: tuple[int, ...] = ()) -> Cost:
    """`earwitness` with these arguments, in a process of its own."""
    return python("from earwitness.cli.main import main; main()", *arguments, pass_fds=pass_fds)


def python(code: str, *arguments: object, pass_fds: tuple[int, ...] = ()) -> Cost:
    """A program of our own, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (_SAFE_BYTES, _SAFE_BYTES)),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, error = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(process.returncode, out, error, usage.ru_maxrss / 1024)


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file of this size that takes no space: its beginning, and a hole."""
    path.write_bytes(head)
    os.truncate(path, size)
    return path
