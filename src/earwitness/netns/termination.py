"""The word to end, as signals: SIGINT (Ctrl-C), SIGTERM (service managers, timeout(1)), SIGHUP (the terminal is gone).

All three are meant the same: end in order, keep what was measured; said again: now. One SIGTERM or SIGHUP often comes
several times, to each process of a group and from the outer command besides (`earwitness.netns.supervise`): what
follows the first within a second is the same word. One that the starter had ignored (nohup(1)) stays ignored.
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
_ONE_WORD_S = 1.0


class _Heard:
    """What this process was told; it has one user."""

    number = 0
    """The first signal; 0: none."""
    at_s = -_ONE_WORD_S
    """When the last SIGTERM or SIGHUP came that was a word of its own; CLOCK_MONOTONIC."""
    instead: Callable[[], None] | None = None
    """What an event loop does about it; None: KeyboardInterrupt."""


def obey() -> None:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does: by KeyboardInterrupt, or as `run` says."""
    for number in _SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_in_order)


def exit_code() -> int:
    """Of a command that was told to end: 128 and the number of the signal that said so first."""
    return 128 + (_Heard.number or signal.SIGINT)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """`asyncio.run`, where SIGTERM and SIGHUP, too, cancel the work once, and the second time end it now.

    Raises:
        KeyboardInterrupt: it was told to end.
    """
    this: asyncio.Task[_Result] | None = None
    words = 0

    async def named() -> _Result:
        nonlocal this
        this = asyncio.current_task()
        return await work

    def cancel() -> None:
        nonlocal words
        words += 1
        if this is None or this.done() or words > 1:
            raise KeyboardInterrupt
        this.cancel()
        this.get_loop().call_soon_threadsafe(lambda: None)  # it may wait for something else

    _Heard.instead = cancel
    try:
        return asyncio.run(named())
    except asyncio.CancelledError:
        if words:
            raise KeyboardInterrupt from None
        raise
    finally:
        _Heard.instead = None


@contextmanager
def on_word_to_end(ask: Callable[[], object]) -> Iterator[None]:
    """While it runs, each word to end is told to this function of the running event loop, and does nothing else."""
    loop = asyncio.get_running_loop()

    def hear(number: int) -> None:
        if _a_word(number):
            ask()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        loop.add_signal_handler(number, hear, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    if _a_word(number):
        if _Heard.instead is None:
            raise KeyboardInterrupt
        _Heard.instead()


def _a_word(number: int) -> bool:
    """Whether this signal says something new."""
    _Heard.number = _Heard.number or number
    if number == signal.SIGINT:
        return True
    now_s = time.monotonic()
    if now_s - _Heard.at_s < _ONE_WORD_S:
        return False
    _Heard.at_s = now_s
    return True
