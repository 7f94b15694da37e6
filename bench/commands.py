"""`earwitness` commands that a benchmark runs beside itself: ended with it, and waited for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_END_S = 60.0


@contextmanager
def started(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, asked to end on leaving (SIGTERM), and after a minute made to; `options` are `subprocess.Popen`'s."""
    process: subprocess.Popen[str] = subprocess.Popen(argv, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(holds: Callable[[], bool], within_s: float, process: subprocess.Popen[str], look_s: float = 0.5) -> None:
    """Wait until it is so. Raises `RuntimeError` where it is not in time, or the process that is to bring it ended."""
    deadline = time.monotonic() + within_s
    while not holds():
        if (code := process.poll()) is not None:
            raise RuntimeError(f"it ended with {code} before it was so")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not so after {within_s:g} s")
        time.sleep(look_s)
