"""Pools of worker processes that leave Ctrl-C to the one that started them, and end with it, however it ends.

Python's own workers wait for ever for a next task from an owner that was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from earwitness.netns import syscalls
from earwitness.netns.priority import stand_back


@contextmanager
def pool(workers: int) -> Iterator[Executor | None]:
    """So many processes; None for one, since then there is nothing to share out."""
    if workers == 1:
        yield None
        return
    with Workers(workers) as executor:
        yield executor


class WorkerDied(BrokenExecutor):
    """The process that worked on one task died (out of memory, or killed); the others go on."""


class Workers(Executor):
    """So many processes, each in a pool of its own: where one dies, its task alone fails, with `WorkerDied`.

    In a pool of several, Python gives up every task that waits, and nobody knows which one was deadly.
    """

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        pools = [_one() for _ in range(count)]
        # Begun here and now: the kernel ends a worker with the thread that began it.
        for beginning in [pool.submit(int) for pool in pools]:
            beginning.result()
        for one in pools:
            self._free.put(one)
        self._threads = ThreadPoolExecutor(count)

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """As of every executor."""
        return self._threads.submit(self._run, work, given, named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of every executor; the processes end."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while not self._free.empty():
            self._free.get().shutdown(wait)

    def _run(self, work: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        pool = self._free.get()
        try:
            return pool.submit(work, *given, **named).result()
        except BrokenExecutor as error:
            pool.shutdown(wait=False)
            pool = _one()
            raise WorkerDied("its worker process died (out of memory, or killed)") from error
        finally:
            self._free.put(pool)


def _one() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, initializer=_begin, initargs=(os.getpid(),))


@contextmanager
def scoring_pool(count: int = 1) -> Iterator[Executor]:
    """Processes that hear and score; they must not disturb running calls."""
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
