"""What a call needs of each end of its path: a capture and a phone, here or on another machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from earwitness.call.placed_call import CALL_CLOCK
from earwitness.capture.live import CaptureProcess, CaptureSummary
from earwitness.path.base import End, PhonePorts
from earwitness.phone.base import Phone, Phones
from earwitness.phone.linphone import Linphones
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.endpoint import RemoteCallEnd, RemoteMachine
from earwitness.remote.machine import Machine


class Capture(Protocol):
    """A capture that runs."""

    async def stop(self) -> CaptureSummary:
        """End it, with everything that came in until now in its file; more calls give the same summary."""
        ...


class CallEnd(Protocol):
    """One end of a call."""

    clock: str
    """Name of the clock that its times are read from."""
    epoch_offset_ns: int
    """What that clock is ahead of the CLOCK_MONOTONIC of its machine."""

    def capture(self, out: Path) -> AbstractAsyncContextManager[Capture]:
        """Capture the end's traffic into `out`; no packet is missed once this is entered."""
        ...

    def phone(self, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """Run a phone, ready to listen or dial."""
        ...

    async def within_reach(self) -> None:
        """Return when the end can be spoken to. `CallFailure` (`REMOTE_LOST`) where it no longer can."""
        ...


class NearEnd:
    """An end on this machine: in the lab, or the caller's of a call between two."""

    clock = CALL_CLOCK

    def __init__(self, end: End, kind: Phones, epoch_offset_ns: int) -> None:
        self.epoch_offset_ns = epoch_offset_ns
        self._end, self._kind = end, kind

    @asynccontextmanager
    async def capture(self, out: Path) -> AsyncIterator[CaptureProcess]:
        """Capture on the path's device."""
        host, interface = self._end.host, self._end.interface
        # On a real machine's own device there is more than the call.
        ports = PhonePorts().all if isinstance(host, Machine) and interface == host.interface else ()
        starting = CaptureProcess.start(host, interface, out, epoch_offset_ns=self.epoch_offset_ns, ports=ports)
        async with await starting as running:
            yield running

    def phone(self, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """The plan's kind of phone."""
        return self._kind.start(self._end.host, setup)

    async def within_reach(self) -> None:
        """It is."""


def call_end(end: End, kind: Phones, epoch_offset_ns: int) -> CallEnd:
    """The end as a call uses it. `kind` and `epoch_offset_ns` are those of this machine."""
    if isinstance(end.host, RemoteMachine):
        recordings = kind.recordings if isinstance(kind, Linphones) else None
        return RemoteCallEnd(end.host.far, end.interface, CALL_CLOCK if end.host.one_clock else "callee", recordings)
    return NearEnd(end, kind, epoch_offset_ns)


if TYPE_CHECKING:
    _far: type[CallEnd] = RemoteCallEnd
