"""Worker processes that leave Ctrl-C to the one that started them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def pool(workers: int) -> Iterator[Executor | None]:
    """A pool of so many processes; None for one, since then there is nothing to share out."""
    if workers == 1:
        yield None
        return
    with ProcessPoolExecutor(workers, initializer=_ignore_interrupts) as executor:
        yield executor


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
