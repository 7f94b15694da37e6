"""The built-in phone's process: `python -m earwitness.phone.agent`, JSON lines in and out.

The first line on stdin is the setup (the only place where a password is passed), each further one a command
`{"id": N, "do": NAME, "with": {...}}`. On stdout: `{"event": "ready"}`, then events as they happen, and for each
command `{"event": "reply", "id": N, ...}`. When stdin closes, the phone hangs up and exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.netns.emit import emit
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.session import Notify, PhoneSession
from earwitness.phone.setup import LONGEST_S, PhoneSetup
from earwitness.untrusted import UntrustedValue, fields, name, shown, whole
from earwitness.untrusted import number as told_number

MOST_COMMANDS = 64
"""Limit of commands in progress."""


def failure_values(error: EarwitnessError) -> dict[str, Any]:
    """Return an error as JSON values, including its outcome."""
    outcome, evidence = Outcome.FAILED, {}
    if isinstance(error, CallFailure):
        outcome, evidence = error.outcome, error.evidence
    return {
        "outcome": outcome.value,
        "stage": error.tried,
        "on": error.on,
        "happened": error.happened,
        "remedy": error.remedy,
        "evidence": evidence,
    }


class Session(Protocol):
    """A phone that such a process serves; `earwitness.phone.session.PhoneSession` documents each method."""

    @property
    def uri(self) -> str: ...  # noqa: D102

    async def register(self) -> None: ...  # noqa: D102

    def listen(self, ring_s: float = 0.0, refuse_with: int = 0) -> None: ...  # noqa: D102

    async def call(self, uri: str, timeout_s: float) -> None: ...  # noqa: D102

    async def finish(self, tail_s: float) -> None: ...  # noqa: D102

    async def hang_up(self) -> None: ...  # noqa: D102

    def report(self) -> PhoneReport: ...  # noqa: D102

    async def close(self) -> None: ...  # noqa: D102


Opening = Callable[[PhoneSetup, Notify], Awaitable[Session]]


async def follow_command(session: Session, command: Mapping[str, Any]) -> None:
    """Execute one command and reply. Commands may come from a remote machine, so each value is validated."""
    number, do = command.get("id"), command.get("do")
    value: object = None
    try:
        given = fields(command.get("with", {}), what="with")
        if do == "register":
            await session.register()
        elif do == "listen":
            session.listen(
                told_number(given.get("ring_s", 0.0), 0.0, LONGEST_S, what="ring_s"),
                refusal(given.get("refuse_with", 0)),
            )
        elif do == "call":
            timeout_s = told_number(given.get("timeout_s"), 0.0, LONGEST_S, what="timeout_s")
            await session.call(name(given.get("uri"), 500, what="uri"), timeout_s)
        elif do == "finish":
            await session.finish(told_number(given.get("tail_s"), 0.0, LONGEST_S, what="tail_s"))
        elif do == "hang_up":
            await session.hang_up()
        elif do == "report":
            value = session.report().to_dict()
        else:
            raise EarwitnessError("doing", shown(do), "the phone knows no such command", "report this as a bug")
    except EarwitnessError as error:
        emit("reply", id=number, failure=failure_values(error))
    except UntrustedValue as error:
        refused = EarwitnessError("doing", shown(do), error, "run the same Earwitness on both machines")
        emit("reply", id=number, failure=failure_values(refused))
    except Exception as error:
        # Report a bug to the caller, which waits for the reply; the traceback goes to the log.
        traceback.print_exc()
        fault = EarwitnessError("doing", do, f"{type(error).__name__}: {error}", "report this as a bug")
        emit("reply", id=number, failure=failure_values(fault))
    else:
        emit("reply", id=number, value=value)


def refusal(value: object) -> int:
    """Read the SIP status to refuse calls with; 0: none."""
    return 0 if value == 0 else whole(value, 300, 699, what="refuse_with")


async def serve_phone(opening: Opening) -> int:
    """Serve the phone that `opening` makes until stdin closes; return the exit status."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, reader.feed_eof)
    line = await reader.readline()
    if not line:
        return 0
    try:
        session = await opening(_setup(line), lambda event, values: emit(event, **values))
    except EarwitnessError as error:
        emit("failed", failure=failure_values(error))
        return 1
    emit("ready", uri=session.uri)
    tasks: set[asyncio.Task[None]] = set()
    with contextlib.suppress(OSError):
        while line := await reader.readline():
            command = json.loads(line)
            if not isinstance(command, dict):
                continue
            if len(tasks) >= MOST_COMMANDS:
                busy = EarwitnessError("doing", shown(command.get("do")), "too many commands are in progress", "wait")
                emit("reply", id=command.get("id"), failure=failure_values(busy))
                continue
            task = asyncio.create_task(follow_command(session, command))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    # A call being set up must be cancelled on the wire too: let its task do so.
    await asyncio.gather(*tasks, return_exceptions=True)
    await session.close()
    return 0


def _setup(line: bytes) -> PhoneSetup:
    try:
        return PhoneSetup.from_dict(json.loads(line))
    except (RecursionError, ValueError) as error:
        raise EarwitnessError("setting up", "a phone", error, "run the same Earwitness on both machines") from error


def main(opening: Opening = PhoneSession.open) -> None:
    """Run the process."""
    status = asyncio.run(serve_phone(opening))
    sys.stdout.flush()
    os._exit(status)  # threads that block in a system call must not delay the exit


if __name__ == "__main__":
    main()
