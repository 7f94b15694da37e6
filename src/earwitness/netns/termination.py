"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM (service managers, timeout(1)), SIGHUP (the terminal closed).

All three mean the same: shut down in order and keep what was measured; a second one means at once. A single SIGTERM or
SIGHUP often arrives several times, sent to each process of a group and by the outer command as well
(`earwitness.netns.supervise`), so those that follow the first within a second count as one. A signal that the parent
process had ignored (nohup(1)) stays ignored.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_SIGNAL_S = 1.0


class _Received:
    """The end signals that this process has received."""

    number = 0
    """The first one; 0: none."""
    at_s = -_SAME_SIGNAL_S
    """When the last SIGTERM or SIGHUP came that was not a repetition; CLOCK_MONOTONIC."""
    instead: Callable[[], None] | None = None
    """What an event loop does about it; None: KeyboardInterrupt."""


def install_handlers() -> None:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does: by KeyboardInterrupt, or as `run` says."""
    for number in _SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_in_order)


def exit_code() -> int:
    """Exit code of a command that a signal ended: 128 plus the number of the first one."""
    return 128 + (_Received.number or signal.SIGINT)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """As `asyncio.run`; SIGTERM and SIGHUP, too, cancel the work the first time, and end it at once the second time.

    Raises:
        KeyboardInterrupt: a signal ended it.
    """
    this: asyncio.Task[_Result] | None = None
    signals = 0

    async def named() -> _Result:
        nonlocal this
        this = asyncio.current_task()
        return await work

    def cancel() -> None:
        nonlocal signals
        signals += 1
        if this is None or this.done() or signals > 1:
            raise KeyboardInterrupt
        this.cancel()
        this.get_loop().call_soon_threadsafe(lambda: None)  # it may wait for something else

    _Received.instead = cancel
    try:
        return asyncio.run(named())
    except asyncio.CancelledError:
        if signals:
            raise KeyboardInterrupt from None
        raise
    finally:
        _Received.instead = None


@contextmanager
def on_end_signal(ask: Callable[[], object]) -> Iterator[None]:
    """Within the block, end signals call `ask` in the running event loop, and do nothing else."""
    loop = asyncio.get_running_loop()

    def receive(number: int) -> None:
        if _is_new(number):
            ask()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    if _is_new(number):
        if _Received.instead is None:
            raise KeyboardInterrupt
        _Received.instead()


def _is_new(number: int) -> bool:
    """Whether this signal is not a repetition of the last."""
    _Received.number = _Received.number or number
    if number == signal.SIGINT:
        return True
    now_s = time.monotonic()
    if now_s - _Received.at_s < _SAME_SIGNAL_S:
        return False
    _Received.at_s = now_s
    return True
