"""Pools of worker processes that leave Ctrl-C to the one that started them, and end with it, however it ends.

Python's own workers wait for ever for a next task from an owner that was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from earwitness.lab import syscalls
from earwitness.lab.priority import stand_back


@contextmanager
def pool(workers: int) -> Iterator[Executor | None]:
    """So many processes; None for one, since then there is nothing to share out."""
    if workers == 1:
        yield None
        return
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(os.getpid(),)) as executor:
        yield executor


@contextmanager
def scoring_pool(count: int = 1) -> Iterator[Executor]:
    """Processes that hear and score; calls on the air must not notice them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin_low, initargs=(os.getpid(),)) as executor:
        yield executor


def _begin(owner: int) -> None:
    """`owner`: the process that the pool is of. It submits from its main thread, with which a worker then ends."""
    os.setpgid(0, 0)  # signals to the owner's group are for the owner, which may want to end a last call in order
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(1)


def _begin_low(owner: int) -> None:
    _begin(owner)
    stand_back()
