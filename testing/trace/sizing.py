"""Files that are too much, and what reading one costs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from testing.commands import MAIN

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
    return python(MAIN, *arguments, pass_fds=pass_fds)


def python(code: str, *arguments: object, pass_fds: tuple[int, ...] = ()) -> Cost:
    """A program of our own, in a process of its own."""
    # The peak of this process alone: what the kernel tells a parent counts what the parent had before it, too.
    told = 'import atexit, re, sys; atexit.register(lambda: sys.stderr.write("\\n" + re.search(' + (
        r"r'VmHWM:\s*(\d+)', open('/proc/self/status').read())[1]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{told}\n{code}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (_SAFE_BYTES, _SAFE_BYTES)),
    ) as process:
        out, error = process.communicate()
    error, _, peak = error.rpartition("\n")
    return Cost(process.returncode, out, error, int(peak) / 1024)


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file of this size that takes no space: its beginning, and a hole."""
    path.write_bytes(head)
    os.truncate(path, size)
    return path
