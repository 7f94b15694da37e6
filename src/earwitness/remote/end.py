"""The other machine as one end of a call: its host, its capture and its phone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen
from typing import Any, NoReturn

from earwitness.capture.child import Child
from earwitness.capture.live import CaptureProcess, CaptureSummary
from earwitness.errors import InputError
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.client import FarEnd
from earwitness.remote.visit import CAPTURE, LONGEST_SPEECH_BYTES
from earwitness.speech.reference import speech_names


@dataclass
class FarMachine:
    """The other machine as a host; an `earwitness.path.far.FarHost`."""

    far: FarEnd
    name: str
    place: str
    address: str
    interface: str
    device: int = 0
    """Number of the tunnel device that is there for the path that is open."""

    def popen(self, argv: Sequence[str], **options: Any) -> Popen[bytes]:
        """Not to be had: the other machine runs captures, phones and forwarders for us, and nothing else."""
        self._not_there(argv[0])

    def inside(self) -> AbstractContextManager[None]:
        """Not to be had either."""
        self._not_there("a socket of ours")

    @asynccontextmanager
    async def tunnel_device(self, number: int) -> AsyncIterator[bool]:
        """Have the callee's device of that number; False where it is taken there."""
        made, _ = await self.far.ask("device", number=number)
        try:
            self.device = number if made else 0
            yield bool(made)
        finally:
            self.device = 0
            if made and self.far.connected:
                await self.far.ask("remove_device", number=number)

    async def start_forwarder(self, config: Mapping[str, Any]) -> Child:
        """Start the callee's forwarder on the device made before."""
        return await self.far.start("forwarder", "forwarder", number=self.device)

    def _not_there(self, what: str) -> NoReturn:
        remedy = "choose direct or tor over two machines, or this path in the lab"
        raise InputError("running at the other machine:", what, "this path cannot be opened from here", remedy)


class FarCapture:
    """A capture at the other machine; its file comes here when it is stopped."""

    def __init__(self, far: FarEnd, process: CaptureProcess, out: Path) -> None:
        self._far, self._process, self._out = far, process, out
        self._summary: CaptureSummary | None = None

    async def stop(self) -> CaptureSummary:
        """End the capture and fetch it. Raises as `CaptureProcess.stop`, `CallFailure` (`REMOTE_LOST`) besides."""
        if self._summary is None:
            await self._far.within_reach()
            summary = await self._process.stop()
            await self._far.fetch(CAPTURE, self._out)
            self._summary = replace(summary, path=self._out)
        return self._summary


class FarCallEnd:
    """One end of a call at the other machine; an `earwitness.call.ends.CallEnd`."""

    def __init__(self, far: FarEnd, interface: str) -> None:
        self.clock = "callee"
        self.epoch_offset_ns = far.introduction.epoch_offset_ns
        self._far, self._interface = far, interface

    @asynccontextmanager
    async def capture(self, out: Path) -> AsyncIterator[FarCapture]:
        """Capture there until leaving."""
        child = await self._far.start("capture", "capture", interface=self._interface)
        process = await CaptureProcess.over(child, self._interface, out)
        try:
            yield FarCapture(self._far, process, out)
        finally:
            await child.close(2.0)

    @asynccontextmanager
    async def phone(self, setup: PhoneSetup) -> AsyncIterator[BuiltinPhone]:
        """Run the built-in phone there; a sound file that it is to speak is sent along."""
        if setup.speech not in ("", *speech_names()):
            await self._far.ask("speech", blob=_sound(setup.speech))
        child = await self._far.start("phone", "phone")
        async with BuiltinPhone.over(child, setup) as phone:
            yield phone

    async def within_reach(self) -> None:
        """Wait for the control channel to come back. Raises `CallFailure` (`REMOTE_LOST`) where it does not."""
        await self._far.within_reach()


def _sound(path: str) -> bytes:
    try:
        sound = Path(path).read_bytes()
    except OSError as error:
        raise InputError("sending the speech", path, error.strerror, "give a sound file") from error
    if len(sound) > LONGEST_SPEECH_BYTES:
        raise InputError("sending the speech", path, f"it has {len(sound)} bytes", "give a shorter file")
    return sound
