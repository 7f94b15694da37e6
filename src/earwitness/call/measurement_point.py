"""What a call needs of each end of its path: a capture and a phone, here or on another machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from earwitness.call.placed_call import CALL_CLOCK
from earwitness.capture.live import CaptureProcess, CaptureSummary
from earwitness.path.base import PathEndpoint
from earwitness.phone.base import Phone, Phones
from earwitness.phone.lab_server import LabServer, lab_server
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.endpoint import RemoteMeasurementPoint


class RunningCapture(Protocol):
    """A capture that runs."""

    async def stop(self) -> CaptureSummary:
        """End it, with everything that came in until now in its file; more calls give the same summary."""
        ...


class MeasurementPoint(Protocol):
    """One end of a call."""

    clock: str
    """Name of the clock that its times are read from."""
    epoch_offset_ns: int
    """What that clock is ahead of the CLOCK_MONOTONIC of its machine."""

    def capture(self, out: Path) -> AbstractAsyncContextManager[RunningCapture]:
        """Capture the end's traffic into `out`; no packet is missed once this is entered."""
        ...

    def phone(self, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """Run a phone, ready to listen or dial."""
        ...

    def lab_server(self, scratch: Path, *, relay: bool) -> AbstractAsyncContextManager[LabServer]:
        """Run the lab's SIP server (Kamailio) here; `relay`: it relays the media. `scratch`: for its files.

        Raises `CallFailure` where it does not start.
        """
        ...

    async def within_reach(self) -> None:
        """Return when the end can be spoken to. `CallFailure` (`REMOTE_LOST`) where it no longer can."""
        ...


class LocalMeasurementPoint:
    """An end on this machine: in the lab, or the caller's of a call between two machines.

    Args:
        end: where the path ends.
        kind: which phone runs there.
        epoch_offset_ns: what the call's clock is ahead of CLOCK_MONOTONIC.
        ports: the UDP ports to capture on a device that carries more than the call; empty: all packets.
    """

    clock = CALL_CLOCK

    def __init__(self, end: PathEndpoint, kind: Phones, epoch_offset_ns: int, ports: tuple[int, ...] = ()) -> None:
        self.epoch_offset_ns = epoch_offset_ns
        self._end, self._kind, self._ports = end, kind, ports

    @asynccontextmanager
    async def capture(self, out: Path) -> AsyncIterator[CaptureProcess]:
        """Capture on the path's device."""
        starting = CaptureProcess.start(
            self._end.host, self._end.interface, out, epoch_offset_ns=self.epoch_offset_ns, ports=self._ports
        )
        async with await starting as running:
            yield running

    def phone(self, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """The plan's kind of phone."""
        return self._kind.start(self._end.host, setup)

    def lab_server(self, scratch: Path, *, relay: bool) -> AbstractAsyncContextManager[LabServer]:
        """At the path's address."""
        return lab_server(self._end.host, scratch, address=self._end.address, relay=relay)

    async def within_reach(self) -> None:
        """It is."""


if TYPE_CHECKING:
    _remote: type[MeasurementPoint] = RemoteMeasurementPoint
