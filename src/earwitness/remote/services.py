"""Services that a caller may open at the answering side, besides processes; each is closed by its number.

Nothing on the wire is a path, an address or a command line: a device is named, and must be one of the call's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.netns.scratch import scratch_folder
from earwitness.path.probe_sockets import echoing, listening, serve_transfer
from earwitness.phone.lab_server import lab_server
from earwitness.remote.bounds import Ration
from earwitness.remote.channel import LaterResult
from earwitness.remote.machine import Machine
from earwitness.tor.control_address import ControlAddress, ControlUnreachable
from earwitness.untrusted import shown, whole


@dataclass(frozen=True)
class Here:
    """What the services may use of the call."""

    machine: Machine
    media_port: int
    tor_control: ControlAddress
    address_of: Callable[[str], str]
    """Gives the address of a device of this call; raises `InputError` for any other device."""
    alone: Callable[[], tuple[str, int]]
    """Gives the loopback address of this call's forwarder; raises `InputError` if it has none."""


async def _nothing() -> None:
    """Return None, for services without a result."""


@asynccontextmanager
async def _echo(here: Here, given: Mapping[str, Any]) -> AsyncIterator[tuple[Any, LaterResult]]:
    with echoing(here.machine, here.address_of(given["interface"])) as (_, port):
        yield port, _nothing


@asynccontextmanager
async def _transfer(here: Here, given: Mapping[str, Any]) -> AsyncIterator[tuple[Any, LaterResult]]:
    address = here.address_of(given["interface"])
    # The machine's own address may be behind a firewall that admits few ports.
    port = here.media_port if address == here.machine.address else 0
    with listening(here.machine, address, port) as listener:
        serving = asyncio.ensure_future(serve_transfer(listener, sends=bool(given["sends"])))

        async def result() -> Any:
            measured = await serving
            return measured and vars(measured)

        try:
            yield listener.getsockname()[1], result
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def _onion(here: Here, _given: Mapping[str, Any]) -> AsyncIterator[tuple[Any, LaterResult]]:
    from earwitness.tor.onion import offered_service

    target = here.alone()
    async with AsyncExitStack() as stack:
        try:
            offered = await stack.enter_async_context(offered_service(here.tor_control, target))
        except CallFailure as failure:
            if failure.outcome is not Outcome.PATH_FAILED:
                raise
            on, remedy = f"{failure.on} of {here.machine.name}", "start tor there, or give `answer --tor-control`"
            raise CallFailure(
                failure.outcome,
                failure.tried,
                on=on,
                happened=failure.happened,
                remedy=remedy if isinstance(failure, ControlUnreachable) else failure.remedy,
                evidence=failure.evidence,
            ) from failure
        yield vars(offered.service), offered.circuit


@asynccontextmanager
async def _sip_server(here: Here, given: Mapping[str, Any]) -> AsyncIterator[tuple[Any, LaterResult]]:
    address = here.address_of(given["interface"])
    with scratch_folder("sip-") as state:
        starting = lab_server(here.machine, state, address=address, relay=bool(given["relay"]))
        async with starting as server:
            yield {"port": server.port, "passwords": dict(server.passwords)}, _nothing


SERVICES = {"echo": _echo, "transfer": _transfer, "onion": _onion, "sip_server": _sip_server}


class Services:
    """The open services of one call."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._ration = Ration(1)
        self._open: dict[int, tuple[AsyncExitStack, LaterResult]] = {}

    async def open(self, what: str, given: Mapping[str, Any]) -> Any:
        """Open one under the number that the caller chose; return its description for the caller."""
        number = whole(given["number"], what="number")
        if number in self._open:
            raise InputError("opening", f"{what} {number}", "that number is in use", "report this as a bug")
        self._ration.take(what)
        stack = AsyncExitStack()
        stack.callback(self._ration.give_back, what)
        self._open[number] = (stack, _nothing)
        try:
            value, result = await stack.enter_async_context(SERVICES[what](self._here, given))
        except BaseException as error:
            del self._open[number]
            await stack.aclose()
            if isinstance(error, OSError):
                remedy = "see that the path is still open"
                raise EarwitnessError(f"opening {what} at", self._here.machine.name, error, remedy) from error
            raise
        self._open[number] = (stack, result)
        return value

    async def result(self, number: int) -> Any:
        """Return a service's result."""
        if number not in self._open:
            raise InputError("asking for the result of", shown(number), "nothing of that number is open", "open it")
        return await self._open[number][1]()

    async def close(self, number: int) -> None:
        """Close one; closing it again is no error."""
        if number in self._open:
            await self._open.pop(number)[0].aclose()

    async def close_all(self) -> None:
        """Close all, newest first."""
        for number in reversed(list(self._open)):
            await self.close(number)
        self._ration = Ration(1)
