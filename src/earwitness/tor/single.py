"""A tor that offers single onion services: it hides nobody, and so needs no client's relays (tor(1), proposal 260).

A tor cannot be both this and a client, so one of its own is started beside the host's client for as long as the
service is offered. It begins with that client's configuration and directory.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.lab.host import Host
from earwitness.tor.control import TorControl
from earwitness.tor.description import TorClient
from earwitness.tor.process import TorProcess, stop_all
from earwitness.tor.torrc import Node

_START_TIMEOUT_S = 15.0
_POLL_S = 0.05
_ITS_OWN = ("DataDirectory", "Nickname", "Log", "ControlSocket", "SocksPort")
_NON_ANONYMOUS = ["SocksPort 0", "HiddenServiceNonAnonymousMode 1", "HiddenServiceSingleHopMode 1"]


@asynccontextmanager
async def single_onion_tor(host: Host, client: TorClient, scratch: Path) -> AsyncIterator[tuple[TorControl, int]]:
    """Start one on a host of the private network whose client is given; its control connection and process id.

    Raises `InputError` where the client is not ours to copy, `CallFailure` (`LAB_FAILED`) where it does not start.
    """
    if client.control.path is None or not client.pid:
        raise InputError(
            "offering a single onion service at",
            host.name,
            "the tor there is not the lab's, and one that is a client cannot be made non-anonymous",
            "leave --single-onion away, or call in the lab",
        )
    original = client.control.path.parent
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="single-", ignore_cleanup_errors=True) as folder:
        node = Node(f"{host.name}single", host.address, Path(folder), ())
        for cached in original.glob("cached-*"):
            shutil.copyfile(cached, node.directory / cached.name)
        kept = [line for line in (original / "torrc").read_text().splitlines() if not line.startswith(_ITS_OWN)]
        own = [
            f"DataDirectory {node.directory}",
            f"Nickname {node.nickname}",
            f"Log notice file {node.log}",
            f"ControlSocket {node.control_socket}",
            *_NON_ANONYMOUS,
        ]
        tor = TorProcess.start(host, node, "\n".join([*kept, *own]) + "\n")
        try:
            await _listening(tor, node)
            async with TorControl.connect(tor.control) as control:
                yield control, tor.process.pid
        finally:
            await stop_all([tor])


async def _listening(tor: TorProcess, node: Node) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        tor.check()
        try:
            async with TorControl.connect(tor.control):
                return
        except EarwitnessError as error:
            if time.monotonic() > deadline:
                raise CallFailure(
                    Outcome.LAB_FAILED,
                    "starting a tor for a single onion service at",
                    on=node.nickname,
                    happened=error.happened,
                    remedy="see the evidence for its log",
                    evidence={"log": tor.last_words()},
                ) from error
        await asyncio.sleep(_POLL_S)
