"""A single onion service: not anonymous, its tor connects to the rendezvous point directly (tor(1), proposal 260).

A tor cannot be both this and a client, so a second tor runs beside the host's client while the service is offered. It
starts with that client's configuration and directory. The service is in its torrc, because with tor 0.4.9 a service
added over the control port (ADD_ONION NonAnonymous) still uses relays of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiostem.event import Event, EventHsDesc

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.netns.host import Host
from earwitness.netns.scratch import scratch_folder
from earwitness.tor.control import TorControl
from earwitness.tor.description import TorClient
from earwitness.tor.onion import PUBLISH_TIMEOUT_S, OfferedHere, OnionService, publishing_failed
from earwitness.tor.process import TorProcess, stop_all
from earwitness.tor.torrc import Node

_START_TIMEOUT_S = 15.0
_POLL_S = 0.02
_ITS_OWN = ("DataDirectory", "Nickname", "Log", "ControlSocket", "SocksPort")
_NON_ANONYMOUS = ["SocksPort 0", "HiddenServiceNonAnonymousMode 1", "HiddenServiceSingleHopMode 1"]


@asynccontextmanager
async def single_onion_service(
    host: Host, client: TorClient, scratch: Path, target: tuple[str, int], *, port: int = 80
) -> AsyncIterator[OfferedHere]:
    """Offer `target` from the host of this client of the private network, until exit.

    Its key is deleted with its folder below `scratch`. Raises `InputError` if the client is not the lab's,
    `CallFailure` if the new tor does not start (`LAB_FAILED`) or publish (`PATH_FAILED`).
    """
    begun = time.monotonic_ns()
    if client.control.path is None or not client.pid:
        raise InputError(
            "offering a single onion service at",
            host.name,
            "the tor there is not the lab's, and one that is a client cannot be made non-anonymous",
            "leave out {single_onion}, or call in the lab",
            field="single_onion",
        )
    original = client.control.path.parent
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with scratch_folder("single-", scratch) as folder:
        node = Node(f"{host.name}single", host.address, folder, ())
        for cached in original.glob("cached-*"):
            shutil.copyfile(cached, node.directory / cached.name)
        kept = [line for line in (original / "torrc").read_text().splitlines() if not line.startswith(_ITS_OWN)]
        own = [
            f"DataDirectory {node.directory}",
            f"Nickname {node.nickname}",
            f"Log notice file {node.log}",
            f"ControlSocket {node.control_socket}",
            *_NON_ANONYMOUS,
            f"HiddenServiceDir {node.directory / 'service'}",
            f"HiddenServicePort {port} {target[0]}:{target[1]}",
        ]
        tor = TorProcess.start(host, node, "\n".join([*kept, *own]) + "\n")
        try:
            async with AsyncExitStack() as stack:
                control = await _connected(tor, node, stack)
                service = await _published(tor, node, control, port)
                service.publish_ms = (time.monotonic_ns() - begun) / 1e6
                yield OfferedHere(service, control, tor.process.pid)
        finally:
            await stop_all([tor])


async def _connected(tor: TorProcess, node: Node, stack: AsyncExitStack) -> TorControl:
    """Connect to its control port, as soon as it listens."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        tor.check()
        try:
            return await stack.enter_async_context(TorControl.connect(tor.control))
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


async def _published(tor: TorProcess, node: Node, control: TorControl, port: int) -> OnionService:
    """Wait until one directory has the descriptor of its only service, and return the service."""
    service = OnionService("", port)

    def on_descriptor(event: Event) -> None:
        assert isinstance(event, EventHsDesc)
        if event.action == "UPLOADED":
            service.uploads.append(str(event.hs_dir))
        elif event.action == "FAILED":
            service.failures.append(f"{event.hs_dir}: {event.reason}")

    await control.follow("HS_DESC", on_descriptor)
    deadline = time.monotonic() + PUBLISH_TIMEOUT_S
    while not service.uploads:
        tor.check()
        if time.monotonic() > deadline:
            raise publishing_failed(control, f"no directory has it after {PUBLISH_TIMEOUT_S:g} s", service)
        await asyncio.sleep(_POLL_S)
    service.address = (node.directory / "service" / "hostname").read_text().strip()
    return service
