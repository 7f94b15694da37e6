"""An ephemeral v3 onion service over the control port (control-spec 3.27 ADD_ONION, 4.1.25 HS_DESC)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from aiostem.event import Event, EventHsDesc
from aiostem.exceptions import AiostemError
from aiostem.structures import OnionServiceFlags

from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.tor.control import TorControl
from earwitness.tor.control_address import ControlAddress

PUBLISH_TIMEOUT_S = 60.0
"""Time to build introduction circuits and upload the descriptor: seconds in the lab, up to a minute outside."""


@dataclass
class OnionService:
    """A published service. `address` ends in `.onion`; its key never leaves tor."""

    address: str
    port: int
    publish_ms: float = 0.0
    uploads: list[str] = field(default_factory=list)
    """Fingerprints of the directories that accepted the descriptor."""
    failures: list[str] = field(default_factory=list)


class OfferedService(Protocol):
    """A service on offer, by a tor here or on another machine."""

    service: OnionService
    pid: int
    """Process id of its tor, if that was started for this service alone; else 0."""

    async def circuit(self) -> Sequence[str]:
        """Fingerprints of the service's circuit to the rendezvous point, guard first; empty if unknown."""
        ...


@dataclass
class OfferedHere:
    """An `OfferedService` of a tor on this machine."""

    service: OnionService
    control: TorControl
    pid: int = 0

    async def circuit(self) -> Sequence[str]:
        """From tor's circuit list (control-spec 4.1.1: PURPOSE, REND_QUERY)."""
        query = f"REND_QUERY={self.service.address.removesuffix('.onion')}"
        for _ in range(10):
            for line in (await self.control.info("circuit-status")).splitlines():
                if " BUILT " in line and "PURPOSE=HS_SERVICE_REND" in line and query in line:
                    return [part.lstrip("$").partition("~")[0] for part in line.split()[2].split(",")]
            await asyncio.sleep(0.05)
        return []


@asynccontextmanager
async def offered_service(control: ControlAddress, target: tuple[str, int]) -> AsyncIterator[OfferedHere]:
    """`onion_service` by the tor at this control port, until exit."""
    async with TorControl.connect(control) as connection, onion_service(connection, target) as service:
        yield OfferedHere(service, connection)


@asynccontextmanager
async def onion_service(
    control: TorControl,
    target: tuple[str, int],
    *,
    port: int = 80,
    timeout_s: float = PUBLISH_TIMEOUT_S,
) -> AsyncIterator[OnionService]:
    """Make tor offer `target` (an address and port that tor can reach) as an onion service, until exit.

    Entering waits until one directory has the descriptor. Raises `CallFailure` (`PATH_FAILED`).
    """
    begun = time.monotonic_ns()
    service = OnionService("", port)
    published = asyncio.Event()

    def on_descriptor(event: Event) -> None:
        assert isinstance(event, EventHsDesc)
        if f"{event.address}".removesuffix(".onion") + ".onion" != service.address:
            return
        if event.action == "UPLOADED":
            service.uploads.append(str(event.hs_dir))
            published.set()
        elif event.action == "FAILED":
            service.failures.append(f"{event.hs_dir}: {event.reason}")

    await control.follow("HS_DESC", on_descriptor)
    flags = {OnionServiceFlags.DISCARD_PK}
    try:
        reply = await control.request(
            control.controller.add_onion(
                "NEW:ED25519-V3", [f"{port},{target[0]}:{target[1]}"], flags=flags, generate_locally=False
            )
        )
        reply.raise_for_status()
        assert reply.data is not None
        service.address = str(reply.data.address).removesuffix(".onion") + ".onion"
        async with asyncio.timeout(timeout_s):
            await published.wait()
    except AiostemError as error:
        raise publishing_failed(control, f"tor refused: {error}", service) from error
    except TimeoutError as error:
        happened = (
            service.failures[-1] if service.failures else f"no directory has its descriptor after {timeout_s:g} s"
        )
        raise publishing_failed(control, happened, service) from error
    service.publish_ms = (time.monotonic_ns() - begun) / 1e6
    try:
        yield service
    finally:
        # If the connection is closed, so is the service: it was not detached.
        with suppress(AiostemError, EarwitnessError):
            await control.request(control.controller.del_onion(service.address.removesuffix(".onion")))


@dataclass
class DescriptorFetches:
    """The result of a client's lookup of a service's descriptor (control-spec 4.1.25 HS_DESC)."""

    received: bool = False
    failures: list[str] = field(default_factory=list)
    """`directory: reason`, in order: `$FINGERPRINT~relay7: NOT_FOUND` ..."""


@asynccontextmanager
async def descriptor_fetches(control: TorControl, address: str) -> AsyncIterator[DescriptorFetches]:
    """Follow this client's lookups of a service's descriptor, until exit."""
    fetches = DescriptorFetches()

    def on_descriptor(event: Event) -> None:
        assert isinstance(event, EventHsDesc)
        if f"{event.address}".removesuffix(".onion") != address.removesuffix(".onion"):
            return
        if event.action == "RECEIVED":
            fetches.received = True
        elif event.action == "FAILED":
            fetches.failures.append(f"{event.hs_dir}: {event.reason}")

    await control.follow("HS_DESC", on_descriptor)
    try:
        yield fetches
    finally:
        with suppress(AiostemError, EarwitnessError):
            await control.request(control.controller.del_event_handler("HS_DESC", on_descriptor))


def publishing_failed(control: TorControl, happened: str, service: OnionService) -> CallFailure:
    """The failure of a service whose descriptor no directory accepted."""
    return CallFailure(
        Outcome.PATH_FAILED,
        "publishing an onion service by tor at",
        on=control.address,
        happened=happened,
        remedy="try again; see that this tor has a working circuit",
        evidence={"address": service.address, "uploads": service.uploads, "failures": service.failures},
    )
