"""A chain of supervised processes: each passes signals on and dies with the one before it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from earwitness.errors import EarwitnessError
from earwitness.netns import syscalls

_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_MINDED = {*_FORWARDED, signal.SIGCHLD}

_LOOK_EVERY_S = 0.5

Enter = Callable[[Sequence[str], int], NoReturn]
"""Enters namespaces and runs the command; never returns. Raises `EarwitnessError` or `OSError`. The integer is the
report pipe: `tell` the outer process {"init": pid} there; closing it (by exec) means that the command is running."""


def run_supervised(enter: Enter, argv: Sequence[str], on_started: Callable[[int], None] | None = None) -> int:
    """Fork the guard, which calls `enter` to run `argv`; wait for the end, passing signals on.

    Returns:
        The command's exit code; 128 + n if signal n ended it.

    Raises:
        EarwitnessError: what `enter` raised.
    """
    if threading.current_thread() is not threading.main_thread():
        # The death signal is tied to the forking thread; another thread could end before the command.
        raise EarwitnessError("starting", argv[0], "not called from the main thread", "call it from there")
    sys.stdout.flush()
    sys.stderr.flush()
    report, report_in = os.pipe()
    former_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _MINDED)
    try:
        guard = fork_owned()
        if guard == 0:
            os.close(report)
            child_main(report_in, lambda: enter(argv, report_in))
        os.close(report_in)
        with os.fdopen(report, encoding="utf-8") as lines:
            reported = {key: value for line in lines for key, value in json.loads(line).items()}
        if "error" in reported:
            wait_for(guard)
            raise EarwitnessError(*reported["error"])
        if on_started is not None:
            on_started(reported["init"])
        return wait_for(guard)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former_mask)


def fork_owned() -> int:
    """`os.fork`, but the child is killed when the calling thread ends, even if that happens immediately."""
    alive = os.pidfd_open(os.getpid())
    child = os.fork()
    if child == 0:
        die_with(alive)
    os.close(alive)
    return child


def die_with(parent_descriptor: int) -> None:
    """In a child: die with the parent, given its pidfd. Call again after a change of credentials."""
    syscalls.die_with_parent(signal.SIGKILL)
    # Across a pid namespace getppid() is 0, so whether the parent is already gone is checked with its pidfd.
    if select.select([parent_descriptor], [], [], 0)[0]:
        os._exit(1)


def child_main(report: int, body: Callable[[], object]) -> NoReturn:
    """Run a forked child's body: never returns into the parent's code, and reports a failure."""
    try:
        body()
    except EarwitnessError as error:
        write_message(report, {"error": [error.tried, error.on, error.happened, error.remedy]})
    except OSError as error:
        parts = ["setting up", "the sandbox", str(error), "run `earwitness doctor` to see what this machine lacks"]
        write_message(report, {"error": parts})
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(70)
    raise AssertionError("unreachable")


def write_message(report: int, message: dict[str, object]) -> None:
    """Send one JSON line to the outer process."""
    os.write(report, json.dumps(message).encode() + b"\n")


def wait_for(child: int) -> int:
    """Reap until `child` ends and return its exit code; pass signals sent to this process on to it.

    Signals from the terminal (SI_KERNEL) have already reached the whole process group and are not repeated.
    The handled signals must be blocked.
    """
    everyone = os.getpid() == 1
    while True:
        # Poll as well: another thread of the caller may have received the signal.
        received = signal.sigtimedwait(_MINDED, _LOOK_EVERY_S)
        if received is not None and received.si_signo != signal.SIGCHLD:
            if received.si_code <= 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, received.si_signo)
            continue
        while True:
            ended, status = os.waitpid(-1 if everyone else child, os.WNOHANG)
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if ended == 0:
                break


def execute(argv: Sequence[str]) -> NoReturn:
    """Replace this process by the command, with default signal handling.

    Raises:
        EarwitnessError: it cannot be executed.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _MINDED)
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        raise EarwitnessError("running", argv[0], error.strerror, "check that it is installed") from error
