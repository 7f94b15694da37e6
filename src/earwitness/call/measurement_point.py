"""What a call needs at each end of its path: a capture and a phone, on this machine or another."""

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


class RunningCapture(Protocol):
    """A running capture."""

    async def stop(self) -> CaptureSummary:
        """Stop the capture, with all packets so far in its file. Further calls return the same summary."""
        ...


class MeasurementPoint(Protocol):
    """One end of a call."""

    clock: str
    """Name of the clock that its times are on."""
    epoch_offset_ns: int
    """That clock minus its machine's CLOCK_MONOTONIC."""

    def capture(self, out: Path) -> AbstractAsyncContextManager[RunningCapture]:
        """Capture the end's traffic into `out`; the capture is complete from entering on."""
        ...

    def phone(self, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """Run a phone, ready to listen or dial."""
        ...

    def lab_server(self, scratch: Path, *, relay: bool) -> AbstractAsyncContextManager[LabServer]:
        """Run the lab's SIP server (Kamailio) here; `relay`: it also relays the media. `scratch`: for its files.

        Raises `CallFailure` if it does not start.
        """
        ...

    async def within_reach(self) -> None:
        """Return once the end is reachable. Raises `CallFailure` (`REMOTE_LOST`) if it is lost."""
        ...


class LocalMeasurementPoint:
    """An end on this machine: in the lab, or the caller's of a call between two machines.

    Args:
        end: the end of the path.
        kind: the kind of phone to run.
        epoch_offset_ns: the call's clock minus CLOCK_MONOTONIC.
        ports: the UDP ports to capture on a device that also carries other traffic; empty: all packets.
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
        """A phone of the plan's kind."""
        return self._kind.start(self._end.host, setup)

    def lab_server(self, scratch: Path, *, relay: bool) -> AbstractAsyncContextManager[LabServer]:
        """At the path's address."""
        return lab_server(self._end.host, scratch, address=self._end.address, relay=relay)

    async def within_reach(self) -> None:
        """It is."""


if TYPE_CHECKING:
    from earwitness.remote.endpoint import RemoteMeasurementPoint

    _remote: type[MeasurementPoint] = RemoteMeasurementPoint
