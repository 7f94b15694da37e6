"""How a process stands back on a processor that calls on the air need too."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import signal
import struct
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

NICENESS = 15
SLICE_NS = 100_000
"""The shortest there is. A process that wakes waits for the slice of the one that runs to end, up to 3 ms, whatever the
nice values: that is longer than a relay takes for a packet."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""Number of the system call by machine; the C library has no function for it."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`, version 0: size, policy, flags, nice, priority, runtime, deadline, period."""


def stand_back() -> None:
    """Give this thread, and those it starts, what others leave: a high nice value and a short slice.

    The slice (sched_setattr(2); Linux 6.12 for ordinary processes) is left as it is where the kernel knows no such.
    """
    os.nice(NICENESS)
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    values = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SLICE_NS, 0, 0)
    # A refusal leaves things as they were: the nice value alone.
    ctypes.CDLL(None, use_errno=True).syscall(number, 0, ctypes.create_string_buffer(values), 0)


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
