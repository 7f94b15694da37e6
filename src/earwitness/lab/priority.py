"""Processes that stand back on processors that calls on the air need too."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

NICENESS = 15


def stand_back() -> None:
    """Leave the processor to others: a high nice value for this process, and those it starts."""
    os.nice(NICENESS)


@contextmanager
def scoring_pool(count: int = 1) -> Iterator[Executor]:
    """Processes that hear and score; calls on the air must not notice them.

    Ctrl-C does not end them, so that a last call can be scored.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin) as executor:
        yield executor


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stand_back()
