"""Both ends of a call on this machine, outside the lab: our own answering side, in a sandbox beside the caller's.

Each end has its devices and phone in its own network namespace, and its sockets in the machine's. All else is as with
two machines: the control channel is TLS on loopback, with keys made for this run that never touch a disk.

`python -m earwitness.remote.loopback_answerer` is the process: it reads options and keys as one JSON line from standard
input, and writes the port that it answers at as one to standard output. It ends when its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from earwitness.capture.live import epoch_offset_ns
from earwitness.errors import CallFailure, Outcome
from earwitness.netns import egress_service
from earwitness.netns.child import exits_within
from earwitness.netns.egress import in_isolated_network
from earwitness.netns.sandbox import STATE_DIR, rerun_inside
from earwitness.netns.scratch import scratch_folder
from earwitness.netns.termination import on_termination_request
from earwitness.remote.answer import open_listener, serve_callers
from earwitness.remote.answering import Answering
from earwitness.remote.certificates import AnswerKeys, Identity, Invitation
from earwitness.remote.machine import Machine
from earwitness.remote.store import CallStore
from earwitness.tor.control_address import ControlAddress

NAME = "callee"
_LOCALHOST = "127.0.0.1"
_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class LoopbackOptions:
    """Options of `earwitness call` for the answering side that it runs itself."""

    place: str = ""
    reached_at: str = ""
    """The address at which exits reach this machine."""
    media_port: int = 0
    tor_control: str = ""
    epoch_offset_ns: int = field(default_factory=epoch_offset_ns)
    """Offset of both ends' clock from CLOCK_MONOTONIC."""


@asynccontextmanager
async def loopback_answerer(options: LoopbackOptions) -> AsyncIterator[tuple[tuple[str, int], Invitation]]:
    """Run one until leaving; give its address and the invitation. Call it in a sandbox without a lab.

    Raises `EarwitnessError`, and `CallFailure` (`REMOTE_LOST`) if it does not start.
    """
    keys, invitation = AnswerKeys.make("")
    settings = {"options": asdict(options), "certificate": keys.server.certificate, "key": keys.server.key}
    with ExitStack() as ours, ExitStack() as theirs:
        stdin, writing = os.pipe()
        theirs.callback(os.close, stdin)
        ours.callback(os.close, writing)
        reading, stdout = os.pipe()
        ours.callback(os.close, reading)
        theirs.callback(os.close, stdout)
        pid = egress_service.spawn(
            STATE_DIR, [sys.executable, "-m", "earwitness.remote.loopback_answerer"], stdin, stdout
        )
        theirs.close()
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise _not_started("it ended at once") from error
        try:
            with suppress(BrokenPipeError):  # then reading its answer fails too
                os.write(writing, json.dumps({**settings, "client": keys.client_certificate}).encode() + b"\n")
            yield (_LOCALHOST, await _port(reading)), invitation
        finally:
            ours.close()
            await _end(process)
            os.close(process)


def _not_started(happened: str) -> CallFailure:
    return CallFailure(
        Outcome.REMOTE_LOST,
        "starting the answering side on",
        on="this machine",
        happened=happened,
        remedy="see what it printed, and `earwitness doctor`",
    )


async def _port(reading: int) -> int:
    lines = asyncio.StreamReader()
    file = os.fdopen(os.dup(reading), "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), file)
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            line = await lines.readline()
        return int(json.loads(line)["port"])
    except (TimeoutError, ValueError) as error:
        raise _not_started("it did not report its port") from error
    finally:
        transport.close()


async def _end(process: int) -> None:
    """Wait until it ends (its standard input is closed), then kill it. `process` is a pidfd."""
    if not await exits_within(process, _END_TIMEOUT_S):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)  # its descendants die with it


async def serve_loopback() -> None:
    """Run the process."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    settings: dict[str, Any] = json.loads(await lines.readline())
    options = LoopbackOptions(**settings["options"])
    with scratch_folder("answered-") as store:
        answering = Answering(
            machine=Machine(NAME, options.place, "", ""),
            store=CallStore(store),
            epoch_offset_ns=options.epoch_offset_ns,
            reached_at=options.reached_at,
            media_port=options.media_port,
            tor_control=ControlAddress.parse(options.tor_control) if options.tor_control else None,
        )
        listener = open_listener(_LOCALHOST, 0)
        keys = AnswerKeys(Identity(settings["certificate"], settings["key"]), settings["client"])
        serving = asyncio.create_task(serve_callers(keys, answering, listener))
        with on_termination_request(lambda: None):  # the command decides when to end; Ctrl-C reaches its whole group
            print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
            await lines.read()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


if __name__ == "__main__":
    if not in_isolated_network():
        raise SystemExit(rerun_inside())
    asyncio.run(serve_loopback())
