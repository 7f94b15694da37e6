"""A call's resources at the answering side: processes, devices, tunnels and services, and what they may reach."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from earwitness.capture.live import capture_command
from earwitness.errors import InputError
from earwitness.netns.child import JsonChild
from earwitness.netns.egress import in_isolated_network
from earwitness.netns.sandbox import private_place
from earwitness.path.base import PhonePorts
from earwitness.path.bridge import way_in
from earwitness.path.openvpn import LISTENING, start_openvpn
from earwitness.path.tun import callee_address, callee_device, caller_address
from earwitness.path.tunnel_numbers import free_port, tunnel_is_taken
from earwitness.path.vpn_config import Security, Tunnel
from earwitness.path.vpn_files import SERVER, server_files
from earwitness.phone.builtin import AGENT
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.answering import Answering
from earwitness.remote.bounds import (
    MOST_CAPTURED,
    MOST_DEVICES,
    Ration,
    forwarder_command,
    forwarder_setup,
    phone_command,
)
from earwitness.remote.channel import Channel, MessageCheck, unchecked
from earwitness.remote.helper import Helper
from earwitness.remote.services import Here, Services
from earwitness.remote.store import CAPTURE, RECORDING, SPEECH, StoredEnd
from earwitness.speech.reference import speech_names
from earwitness.tor.control_address import default_control
from earwitness.untrusted import MOST_COUNT, shown

LONGEST_SPEECH_BYTES = 8 * 1024 * 1024
LINPHONE_AGENT = (sys.executable, "-m", "earwitness.remote.linphone_agent")
_GRACE_S = 10.0
"""Time for a process to end by itself: a phone hangs up and removes its registration."""
_LOCALHOST = "127.0.0.1"
_ANY = "0.0.0.0"


class CallResources:
    """The resources of one caller's calls, one call after the other.

    Events of the processes go to `channel` and into the call's folder.
    """

    def __init__(self, answering: Answering, channel: Channel) -> None:
        self.channel = channel
        self._answering = answering
        self._stored: StoredEnd | None = None
        self._helpers: dict[int, Helper] = {}
        self._devices: dict[int, tuple[int, contextlib.ExitStack]] = {}
        self._tunnels: dict[str, str] = {}
        """Addresses of OpenVPN devices, by device name."""
        self._alone: tuple[str, int] | None = None
        """Where the forwarder of an onion path listens on loopback."""
        self.services = Services(
            Here(
                machine=answering.machine,
                media_port=answering.media_port,
                tor_control=answering.tor_control or default_control(),
                address_of=self._address_of,
                alone=self._listens_alone,
            )
        )
        self._processes = Ration(1)
        self._given: set[int] = set()
        """Process numbers that the caller has used in this call."""

    def begin(self, stored: StoredEnd) -> None:
        """Begin another call, whose files are kept in `stored`."""
        self._processes, self._given = Ration(1), set()
        self._stored = stored

    def helper(self, number: object) -> Helper | None:
        """Return the process that the caller knows by this number."""
        return self._helpers.get(number) if type(number) is int else None

    # -- what a caller may ask -------------------------------------------------------------------------

    def keep_speech(self, sound: bytes) -> None:
        """Store the sound file that the phone of this call is to play."""
        if len(sound) > LONGEST_SPEECH_BYTES:
            raise InputError("taking the speech of", f"{len(sound)} bytes", "it is too long", "give a shorter file")
        self._here.file(SPEECH).write_bytes(sound)

    async def capture(self, child: int, interface: str) -> None:
        """Start the capture of a device of this call, as process `child`."""
        self._address_of(interface)
        # The machine's own device carries more than the call.
        ports = PhonePorts().all if interface == self._answering.machine.interface else ()
        out = self._here.file(CAPTURE)
        if out.exists():
            raise InputError(
                "capturing again for", self._here.folder.name, "it already has a capture", "begin another call"
            )
        argv = capture_command(interface, out, self._answering.epoch_offset_ns, ports=ports, most_bytes=MOST_CAPTURED)
        await self._helper(child, "capture", argv)

    async def phone(self, child: int) -> None:
        """Start the built-in phone, as process `child`."""
        await self._phone(child, AGENT)

    async def linphone(self, child: int) -> None:
        """Start linphone with its own recording, as process `child`."""
        await self._phone(child, [*LINPHONE_AGENT, str(self._here.file(RECORDING))])

    async def _phone(self, child: int, argv: Sequence[str]) -> None:
        await self._helper(child, "phone", argv, first=self._phone_setup, then=phone_command)

    async def forwarder(self, child: int, number: int) -> None:
        """Start the forwarder of a path on the device `number`, as process `child`."""
        descriptor, _ = self._devices[number]
        machine = self._answering.machine
        alone = False

        def first(config: dict[str, Any]) -> dict[str, Any]:
            nonlocal alone
            alone, asked = forwarder_setup(config)
            return {
                **asked,
                "role": "callee",  # a forwarder that connects out is not allowed here
                "tun": descriptor,
                "local": callee_address(number),
                "remote": caller_address(number),
                "listen": _LOCALHOST if alone else self._listens_at,
                "alone": alone,
                "port": 0 if alone else self._answering.media_port,
            }

        def said(event: dict[str, Any]) -> dict[str, Any]:
            if event.get("event") == "listening":
                if not alone:
                    return {**event, "address": self._answering.reached_at or machine.address}
                self._alone = (event["address"], event["port"])
            return event

        argv = [sys.executable, "-m", "earwitness.path.forwarder"]
        await self._helper(
            child, "forwarder", argv, first=first, then=forwarder_command, said=said, descriptor=descriptor
        )

    async def tunnel(self, child: int, number: int, security: str, nodelay: bool) -> dict[str, Any] | None:
        """Start the callee's OpenVPN, as process `child`; its files are removed as soon as it has read them.

        Returns what the caller needs, including its share of the keys; None if the device is in use.
        """
        if tunnel_is_taken(number):
            return None
        rationed = self._processes
        rationed.take("openvpn")
        try:
            return await self._started_tunnel(child, number, security, nodelay)
        except BaseException:
            rationed.give_back("openvpn")
            raise

    async def _started_tunnel(self, child: int, number: int, security: str, nodelay: bool) -> dict[str, Any]:
        machine, bridged = self._answering.machine, in_isolated_network()
        listen, port = self._listens_at, self._answering.media_port
        tunnel = Tunnel(
            server=_LOCALHOST if bridged else listen,
            port=free_port(machine, _LOCALHOST) if bridged else free_port(machine, listen, port),
            security=Security(security),
            nodelay=bool(nodelay),
            number=number,
        )
        async with contextlib.AsyncExitStack() as stack:
            if bridged:
                inner = (tunnel.server, tunnel.port)
                port = await stack.enter_async_context(way_in((listen, port), inner, nodelay=tunnel.nodelay))
            folder, offer = stack.enter_context(server_files(private_place(), tunnel))
            process = await start_openvpn(machine, folder, SERVER)
            opened = stack.pop_all()

        def said(event: dict[str, Any]) -> dict[str, Any]:
            if LISTENING.search(event["line"]):
                shutil.rmtree(folder, ignore_errors=True)
            return event

        async def ended(rationed: Ration = self._processes) -> None:
            rationed.give_back("openvpn")
            await opened.aclose()

        self._helpers[child] = Helper(child, "openvpn", process, self, said=said, ended=ended)
        self._tunnels[tunnel.device] = tunnel.callee_address
        return {
            "server": self._answering.reached_at or machine.address,
            "port": port if bridged else tunnel.port,
            "config": offer.config,
            "keys": {name: key.decode() for name, key in offer.keys.items()},
        }

    @property
    def _listens_at(self) -> str:
        """Return the address at which this machine accepts a path's streams."""
        return _ANY if self._answering.reached_at else self._answering.machine.address

    def _addresses(self) -> dict[str, str]:
        """Return this side's addresses in the call, by device."""
        known = {f"ew{number}": callee_address(number) for number in self._devices} | self._tunnels
        if self._answering.machine.interface:
            known[self._answering.machine.interface] = self._answering.machine.address
        return known

    def _address_of(self, interface: str) -> str:
        """Return the address of a device of this call. Raises `InputError` for any other device."""
        known = self._addresses()
        if interface not in known:
            raise InputError("using", interface or "this machine", "not a device of this call", "see its path")
        return known[interface]

    def _listens_alone(self) -> tuple[str, int]:
        if self._alone is None:
            raise InputError("offering", "an onion service", "no forwarder listens for one", "report this as a bug")
        return self._alone

    def _phone_setup(self, setup: dict[str, Any]) -> dict[str, Any]:
        """Complete a phone's setup: this machine's clock, the call's address, and only the speech sent for the call.

        Raises `UntrustedValue` and `InputError`.
        """
        asked = PhoneSetup.from_dict(setup)
        if asked.address not in self._addresses().values():
            raise InputError("binding a phone to", asked.address, "not an address of this call", "see its path")
        speech = asked.speech if asked.speech in ("", *speech_names()) else str(self._here.file(SPEECH))
        return replace(asked, speech=speech, epoch_offset_ns=self._answering.epoch_offset_ns).to_dict()

    def make_device(self, number: int) -> bool:
        """Create the device of this number; False if it is in use."""
        if len(self._devices) >= MOST_DEVICES:
            raise InputError(
                "creating another device beside", f"{MOST_DEVICES} others", "a call needs one", "remove some"
            )
        with contextlib.ExitStack() as stack:
            descriptor = stack.enter_context(callee_device(self._answering.machine, number))
            if descriptor is None:
                return False
            self._devices[number] = (descriptor, stack.pop_all())
        return True

    def remove_device(self, number: int) -> None:
        """Remove the device, if there is one."""
        if number in self._devices:
            self._devices.pop(number)[1].close()

    def new_child(self, given: Mapping[str, Any]) -> int:
        """Reserve the number by which the caller will know a process. Raises `InputError` if it is in use."""
        number = given["child"]
        if type(number) is not int or not 0 <= number < MOST_COUNT or number in self._given:
            happened = "not a free process number"
            raise InputError("starting process", shown(number), happened, "report this as a bug")
        self._given.add(number)
        return number

    async def _helper(
        self,
        number: int,
        kind: str,
        argv: Sequence[str],
        *,
        first: MessageCheck = unchecked,
        then: MessageCheck = unchecked,
        said: MessageCheck = unchecked,
        descriptor: int | None = None,
    ) -> None:
        machine = self._answering.machine
        descriptors = () if descriptor is None else (descriptor,)
        self._processes.take(kind)
        try:
            child = await JsonChild.start(machine, argv, f"{kind} of {machine.name}", pass_fds=descriptors)
        except BaseException:
            self._processes.give_back(kind)
            raise

        async def ended(rationed: Ration = self._processes) -> None:
            rationed.give_back(kind)

        self._helpers[number] = Helper(number, kind, child, self, first=first, then=then, said=said, ended=ended)

    @property
    def _here(self) -> StoredEnd:
        if self._stored is None:
            raise InputError("storing files of", "a call", "no call was begun", "run the same Earwitness there")
        return self._stored

    def note(self, name: str, event: Mapping[str, Any]) -> None:
        """Store an event of a process."""
        if self._stored is not None:
            with contextlib.suppress(OSError):  # the capture itself reports a full disk
                self._stored.note(name, event)

    async def media_received(self) -> int:
        """Return how many RTP packets the call's phone has received so far."""
        phones = [helper for helper in self._helpers.values() if helper.name == "phone"]
        reports = await asyncio.gather(*(phone.report() for phone in phones))
        return sum(report.get("packets_received", 0) for report in reports)

    async def end(self) -> None:
        """End every process, storing its last events, and close all services."""
        helpers, self._helpers = list(self._helpers.values()), {}
        try:
            phones = [helper for helper in helpers if helper.name == "phone"]
            for report in await asyncio.gather(*(phone.report() for phone in phones)):
                self.note("phone", {"event": "report", "value": report})
            await asyncio.gather(*(helper.close(_GRACE_S) for helper in helpers), return_exceptions=True)
        finally:
            await self.services.close_all()
            self._tunnels.clear()
            self._alone = None
            for number in list(self._devices):
                self.remove_device(number)
