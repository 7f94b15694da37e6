"""Pools of worker processes that ignore Ctrl-C, which is for their owner, and end with it, however it ends.

Python's own workers would wait for ever for a task from an owner that was killed.
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
from earwitness.netns.priority import lower_priority


@contextmanager
def pool(workers: int) -> Iterator[Executor | None]:
    """A pool of this many processes; None for one, since a single process needs no pool."""
    if workers == 1:
        yield None
        return
    with Workers(workers) as executor:
        yield executor


class WorkerDied(BrokenExecutor):
    """The process working on one task died (out of memory, or killed); the others continue."""


class Workers(Executor):
    """This many processes, each in its own pool: if one dies, only its task fails, with `WorkerDied`.

    In a shared pool, Python would abandon every waiting task, and the deadly one would be unknown.
    """

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        pools = [_one() for _ in range(count)]
        # Start the processes here: the kernel ends a worker with the thread that started it.
        for beginning in [pool.submit(int) for pool in pools]:
            beginning.result()
        for one in pools:
            self._free.put(one)
        self._threads = ThreadPoolExecutor(count)

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """See `Executor.submit`."""
        return self._threads.submit(self._run, work, given, named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`; ends the processes."""
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
    """Processes that hear and score at low priority, so that they do not disturb ongoing calls."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin_low, initargs=(os.getpid(),)) as executor:
        yield executor


def _begin(owner: int) -> None:
    """`owner`: the pool's process. It must submit from its main thread, because a worker ends with that thread."""
    os.setpgid(0, 0)  # signals to the owner's group are for the owner, which may need its workers to finish a last call
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(1)


def _begin_low(owner: int) -> None:
    _begin(owner)
    lower_priority()
