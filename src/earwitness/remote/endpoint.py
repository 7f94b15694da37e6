"""The remote machine as one end of a call: its host, its capture and its phone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen
from typing import Any, NoReturn

from earwitness.capture.live import CaptureProcess, CaptureSummary
from earwitness.errors import CallFailure, EarwitnessError, InputError
from earwitness.files import read_regular
from earwitness.netns.child import Child
from earwitness.netns.host import SocketAddress
from earwitness.path.base import PathEndpoint
from earwitness.path.callee_host import OnionRequest
from earwitness.path.forwarder import ForwarderConfig
from earwitness.path.openvpn import OpenVpn
from earwitness.path.probe import Throughput
from earwitness.path.tun import FAR_DESCRIPTOR
from earwitness.path.vpn_config import Security, Tunnel, files_of
from earwitness.path.vpn_files import TunnelOffer
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.kamailio import DOMAIN
from earwitness.phone.lab_server import ENDS, LabServer
from earwitness.phone.linphone import recording_name
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.call_resources import LONGEST_SPEECH_BYTES
from earwitness.remote.channel import LaterResult
from earwitness.remote.client import RemoteClient
from earwitness.remote.store import CAPTURE, RECORDING
from earwitness.remote.validation import forwarder_event, is_onion_address, log_event, throughput
from earwitness.speech.reference import speech_names
from earwitness.tor.onion import OnionService
from earwitness.untrusted import UntrustedValue, listed, name, number, text, whole

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_LONGEST_KEY = 1 << 16
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass
class RemoteMachine:
    """The remote machine as a host; an `earwitness.path.callee_host.CalleeHost`."""

    remote: RemoteClient
    name: str
    place: str
    address: str
    interface: str
    device: int = 0
    """Number of the remote tunnel device of the open path."""

    def popen(self, argv: Sequence[str], **options: Any) -> Popen[bytes]:
        """Always refused: the remote machine runs only captures, phones and forwarders for us."""
        self._not_there(argv[0])

    def inside(self) -> AbstractContextManager[None]:
        """Always refused: no socket of ours can be opened there."""
        self._not_there("a socket of ours")

    @asynccontextmanager
    async def tunnel_device(self, number: int) -> AsyncIterator[int | None]:
        """Create the callee's device of that number; None if it is in use there."""
        made, _ = await self.remote.ask("device", number=number)
        try:
            self.device = number if made else 0
            yield FAR_DESCRIPTOR if made else None
        finally:
            self.device = 0
            if made and self.remote.connected:
                with contextlib.suppress(
                    EarwitnessError
                ):  # given up meanwhile: the device goes with the remote session
                    await self.remote.ask("remove_device", number=number)

    async def start_forwarder(self, config: ForwarderConfig) -> Child:
        """Start the callee's forwarder on the device created before; each of its events is validated on arrival."""

        def believed(event: dict[str, Any]) -> dict[str, Any]:
            read = forwarder_event(event, frozenset(config.flows))
            if read["event"] == "listening" and not config.alone:
                try:
                    self.remote.check_address("streams", read["address"])
                except CallFailure as refused:
                    raise UntrustedValue(str(refused)) from refused
            return read

        return await self.remote.start("forwarder", "forwarder", believed, number=self.device)

    @asynccontextmanager
    async def offered_tunnel(
        self, number: int, security: Security, *, nodelay: bool, scratch: Path
    ) -> AsyncIterator[tuple[TunnelOffer, OpenVpn] | None]:
        """Run the callee's OpenVPN remotely; its files stay there."""
        started = await self._start_tunnel(number, security, nodelay=nodelay)
        if started is None:
            yield None
            return
        offer, child = started
        async with OpenVpn.over(self, child) as end:
            yield offer, end

    async def _start_tunnel(
        self, number: int, security: Security, *, nodelay: bool
    ) -> tuple[TunnelOffer, Child] | None:
        """Start it; the reply is validated before it is used."""
        given = {"number": number, "security": str(security), "nodelay": nodelay}
        child, reply = await self.remote.started("tunnel", "openvpn", log_event, **given)
        if reply is None:
            return None
        with _believing("a tunnel"):
            server, port = name(reply["server"], what="server"), _port(reply["port"])
            keys = {
                file: text(reply["keys"][file], _LONGEST_KEY, what=file).encode()
                for file in files_of("client", security, socks=False)
            }
            config = text(reply["config"], _LONGEST_KEY, what="config")  # it is written into the call's folder
        if not _HOST.fullmatch(server):
            raise InputError("connecting a tunnel to", server, "not an address", "see `answer --reached-at`")
        self.remote.check_address("a tunnel", server)
        tunnel = Tunnel(server=server, port=port, security=security, nodelay=nodelay, number=number)
        return TunnelOffer(tunnel, config, keys), child

    @asynccontextmanager
    async def offered_onion(self, request: OnionRequest) -> AsyncIterator[OfferedThere]:
        """Have the remote tor publish an onion service for the remote forwarder, whose address it knows itself."""
        async with self.remote.opened("onion") as (reply, circuit):
            with _believing("an onion service"):
                uploads, failures = (list(listed(reply[key], text, 100, what=key)) for key in ("uploads", "failures"))
                publish_ms = number(reply["publish_ms"], what="publish_ms")
                service = OnionService(
                    name(reply["address"], what="address"), _port(reply["port"]), publish_ms, uploads, failures
                )
            if not is_onion_address(service.address):
                raise InputError(
                    "connecting to", service.address, "not an onion address", "see the other machine's tor"
                )
            yield OfferedThere(service, circuit)

    @asynccontextmanager
    async def echoing(self, interface: str, address: str) -> AsyncIterator[SocketAddress]:
        """Run an echo server on a remote device."""
        async with self.remote.opened("echo", interface=interface) as (reply, _):
            with _believing("echoes"):
                port = _port(reply)
            yield (address, port)

    @asynccontextmanager
    async def taking_a_transfer(
        self, interface: str, address: str, *, sends: bool
    ) -> AsyncIterator[tuple[SocketAddress, Callable[[], Awaitable[Throughput | None]]]]:
        """Run the receiving end of a transfer over a remote device."""
        async with self.remote.opened("transfer", interface=interface, sends=sends) as (reply, result):
            with _believing("a transfer"):
                port = _port(reply)

            async def received() -> Throughput | None:
                value = await result()
                with _believing("a transfer"):
                    return None if value is None else throughput(value)

            yield (address, port), received

    @asynccontextmanager
    async def lab_server(self, interface: str, address: str, *, relay: bool) -> AsyncIterator[LabServer]:
        """Run the lab's SIP server remotely at `address`, the address of a device of the call."""
        async with self.remote.opened("sip_server", interface=interface, relay=relay) as (reply, _):
            with _believing("a SIP server"):
                passwords = {end: name(reply["passwords"][end], what="password") for end in ENDS}
                server = LabServer(address, _port(reply["port"]), DOMAIN, passwords)
            yield server

    def _not_there(self, what: str) -> NoReturn:
        remedy = "choose another path, or this one in the lab"
        raise InputError("running at the other machine:", what, "this path cannot be opened from here", remedy)


@dataclass
class OfferedThere:
    """An onion service of the remote tor; an `earwitness.tor.onion.OfferedService`."""

    service: OnionService
    _circuit: LaterResult
    pid: int = 0

    async def circuit(self) -> Sequence[str]:
        """Return the fingerprints of its relays, as that tor reports them."""
        reply = await self._circuit()
        with _believing("a circuit"):
            return listed(reply, _fingerprint, 16, what="a circuit")


class RemoteCapture:
    """A capture on the remote machine; its file is fetched when it is stopped."""

    def __init__(self, remote: RemoteClient, process: CaptureProcess, out: Path) -> None:
        self._remote, self._process, self._out = remote, process, out
        self._summary: CaptureSummary | None = None

    async def stop(self) -> CaptureSummary:
        """End the capture and fetch its file, even if the capture failed.

        Raises as `CaptureProcess.stop`, and `CallFailure` (`REMOTE_LOST`).
        """
        if self._summary is None:
            await self._remote.within_reach()
            try:
                summary = await self._process.stop()
            finally:
                await self._remote.fetch(CAPTURE, self._out)
            self._summary = replace(summary, path=self._out)
        return self._summary


class RemoteMeasurementPoint:
    """The callee's end of a call on the remote machine; an `earwitness.call.measurement_point.MeasurementPoint`.

    Args:
        machine: the remote machine.
        end: the path's end there.
        clock: the name of its clock.
        recordings: folder for the recording of a remote linphone, which is then the phone; None: the built-in phone.
    """

    def __init__(self, machine: RemoteMachine, end: PathEndpoint, clock: str, recordings: Path | None = None) -> None:
        self.clock = clock
        self.epoch_offset_ns = machine.remote.hello.epoch_offset_ns
        self._machine, self._end, self._recordings = machine, end, recordings
        self._remote, self._interface = machine.remote, end.interface

    @asynccontextmanager
    async def capture(self, out: Path) -> AsyncIterator[RemoteCapture]:
        """Capture there until leaving."""
        child = await self._remote.start("capture", "capture", interface=self._interface)
        process = await CaptureProcess.over(child, self._interface, out)
        try:
            yield RemoteCapture(self._remote, process, out)
        finally:
            await child.close(2.0)

    @asynccontextmanager
    async def phone(self, setup: PhoneSetup) -> AsyncIterator[BuiltinPhone]:
        """Run a phone remotely; its sound file is sent before it starts, and its recording is fetched afterwards."""
        if setup.speech not in ("", *speech_names()):
            await self._remote.ask("speech", blob=_sound(setup.speech))
        child = await self._remote.start("linphone" if self._recordings else "phone", "phone")
        try:
            async with BuiltinPhone.over(child, setup) as phone:
                yield phone
        finally:
            if self._recordings and self._remote.connected:
                with contextlib.suppress(EarwitnessError):  # no recording was made, or the machine is unreachable
                    await self._remote.fetch(RECORDING, self._recordings / recording_name("callee"))

    @asynccontextmanager
    async def lab_server(self, scratch: Path, *, relay: bool) -> AsyncIterator[LabServer]:
        """Run the lab's SIP server remotely; its files stay there."""
        async with self._machine.lab_server(self._interface, self._end.address, relay=relay) as server:
            yield server

    async def within_reach(self) -> None:
        """Wait for the control channel to come back. Raises `CallFailure` (`REMOTE_LOST`) if it does not."""
        await self._remote.within_reach()


@contextlib.contextmanager
def _believing(what: str) -> Iterator[None]:
    """Turn a malformed reply into a one-line error."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EarwitnessError(
            "opening",
            f"{what} at the other machine",
            f"its reply cannot be read: {error!r:.200}",
            "run the same Earwitness on both machines",
        ) from error


def _port(reply: object) -> int:
    return whole(reply, 1, 65535, what="port")


def _fingerprint(reply: object) -> str:
    if not _FINGERPRINT.fullmatch(read := name(reply, what="a relay")):
        raise UntrustedValue(f"a relay: {read} is not a fingerprint")
    return read


def _sound(path: str) -> bytes:
    try:
        return read_regular(path, LONGEST_SPEECH_BYTES)
    except OSError as error:
        raise InputError("sending the speech", path, error.strerror, "give a sound file, or a shorter one") from error
