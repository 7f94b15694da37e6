"""Requests to terminate, as signals: SIGINT (Ctrl-C), SIGTERM (service managers, timeout(1)), SIGHUP (terminal closed).

All three mean the same: shut down in order and keep what was measured; a second request means: now. A single SIGTERM or
SIGHUP often arrives several times, at each process of a group and also from the outer command
(`earwitness.netns.supervise`), so repetitions within a second count as one request. A signal that was ignored at the
start (nohup(1)) stays ignored.
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
_SAME_REQUEST_S = 1.0


class _Requests:
    """The termination requests to this process; global state."""

    number = 0
    """The first signal; 0: none."""
    at_s = -_SAME_REQUEST_S
    """When the last SIGTERM or SIGHUP that counted as a new request arrived; CLOCK_MONOTONIC."""
    instead: Callable[[], None] | None = None
    """What an event loop does on a request; None: KeyboardInterrupt."""


def handle_termination_signals() -> None:
    """Make SIGTERM and SIGHUP end this process like Ctrl-C: by KeyboardInterrupt, or as in `run`."""
    for number in _SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_in_order)


def exit_code() -> int:
    """Exit code of a command that was asked to terminate: 128 plus the number of the first signal."""
    return 128 + (_Requests.number or signal.SIGINT)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """`asyncio.run`, but SIGTERM and SIGHUP also cancel the work on the first request and end it on the second.

    Raises:
        KeyboardInterrupt: it was asked to terminate.
    """
    this: asyncio.Task[_Result] | None = None
    requests = 0

    async def named() -> _Result:
        nonlocal this
        this = asyncio.current_task()
        return await work

    def cancel() -> None:
        nonlocal requests
        requests += 1
        if this is None or this.done() or requests > 1:
            raise KeyboardInterrupt
        this.cancel()
        this.get_loop().call_soon_threadsafe(lambda: None)  # wake the loop, which may be waiting for something else

    _Requests.instead = cancel
    try:
        return asyncio.run(named())
    except asyncio.CancelledError:
        if requests:
            raise KeyboardInterrupt from None
        raise
    finally:
        _Requests.instead = None


@contextmanager
def on_termination_request(ask: Callable[[], object]) -> Iterator[None]:
    """Within the block, each termination request only calls `ask` in the running event loop."""
    loop = asyncio.get_running_loop()

    def receive(number: int) -> None:
        if _is_new_request(number):
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
    if _is_new_request(number):
        if _Requests.instead is None:
            raise KeyboardInterrupt
        _Requests.instead()


def _is_new_request(number: int) -> bool:
    """Whether this signal is a new request rather than a repetition."""
    _Requests.number = _Requests.number or number
    if number == signal.SIGINT:
        return True
    now_s = time.monotonic()
    if now_s - _Requests.at_s < _SAME_REQUEST_S:
        return False
    _Requests.at_s = now_s
    return True
