"""One caller's visit at the answering side: the processes of its calls, over a channel that may break."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from earwitness.capture.live import capture_command
from earwitness.errors import EarwitnessError, InputError
from earwitness.files import open_regular
from earwitness.netns.child import JsonChild
from earwitness.netns.egress import in_isolated_network
from earwitness.netns.sandbox import private_place
from earwitness.path.base import PhonePorts
from earwitness.path.bridge import way_in
from earwitness.path.openvpn import LISTENING, start_openvpn
from earwitness.path.tun import callee_address, callee_device, caller_address
from earwitness.path.vpn import free_port, tunnel_is_taken
from earwitness.path.vpn_config import Security, Tunnel
from earwitness.path.vpn_files import SERVER, server_files
from earwitness.phone.agent import failure_values
from earwitness.phone.builtin import AGENT
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.bounds import (
    LONGEST_CALL_S,
    MOST_AT_WORK,
    MOST_CAPTURED,
    MOST_DEVICES,
    Pace,
    Ration,
    device_number,
    forwarder_command,
    forwarder_setup,
    grace_s,
    phone_command,
)
from earwitness.remote.channel import Channel, Message
from earwitness.remote.helper import Helper, Lines, as_it_is
from earwitness.remote.machine import Machine
from earwitness.remote.services import SERVICES, Here, Services
from earwitness.remote.store import CallStore, StoredEnd
from earwitness.speech.reference import speech_names
from earwitness.tor.control_address import ControlAddress, default_control
from earwitness.untrusted import MOST_COUNT, UntrustedValue, fields, name, shown, whole

CHUNK_BYTES = 1 << 18
LONGEST_SPEECH_BYTES = 8 * 1024 * 1024
CAPTURE = "callee.pcap"
SPEECH = "speech.wav"
RECORDING = "linphone.wav"
LINPHONE_AGENT = (sys.executable, "-m", "earwitness.remote.linphone_agent")
PATIENCE_S = 60.0
"""A caller that is away for so long, with no packet of the call coming in any more, does not come back."""
_GRACE_S = 10.0
"""For a process to end by itself: a phone hangs up and gives its registration back."""
_LOCALHOST = "127.0.0.1"
_ANY = "0.0.0.0"


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What holds for every visit."""

    machine: Machine
    store: CallStore
    epoch_offset_ns: int
    """What this machine's call clock is ahead of its CLOCK_MONOTONIC."""
    reached_at: str = ""
    """Address that others reach this machine by, where it is not the machine's own (behind a translator)."""
    media_port: int = 0
    """TCP port for the streams of a path; 0: any that is free."""
    tor_control: ControlAddress | None = None
    """Control port of the tor that offers onion services; None: where it usually is."""
    patience_s: float = PATIENCE_S


class Visit:
    """What one caller has here. `channel` is carried by the listener, connection after connection."""

    def __init__(self, answering: Answering) -> None:
        self.session = secrets.token_hex(16)
        self.channel = Channel(self._deliver, pace=Pace(), unread=self._is_not_read)
        self.ended = asyncio.Event()
        self.ended_because = ""
        """Why this side ended it, where it did so by itself."""
        self.call_id = ""
        self.away_since: float | None = time.monotonic()
        """When the connection was lost (CLOCK_MONOTONIC, s); None while there is one."""
        self.machine = answering.machine
        self._answering = answering
        self._stored: StoredEnd | None = None
        self._helpers: dict[int, Helper] = {}
        self._devices: dict[int, tuple[int, contextlib.ExitStack]] = {}
        self._tunnels: dict[str, str] = {}
        """Addresses of OpenVPN's devices, by their names."""
        self._alone: tuple[str, int] | None = None
        """Where the forwarder of an onion path listens."""
        self._services = Services(
            Here(
                machine=answering.machine,
                media_port=answering.media_port,
                tor_control=answering.tor_control or default_control(),
                address_of=self._address_of,
                alone=self._listens_alone,
            )
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False
        self._processes = Ration(1)
        self._given: set[int] = set()
        """Numbers of processes that the caller gave in this call."""
        self._begun = time.monotonic()

    # -- what comes over the channel -------------------------------------------------------------------

    def _deliver(self, message: Message, blob: bytes) -> None:
        if "child" in message:
            helper = self._helpers.get(message["child"])
            if helper is None:
                return
            if "line" in message:
                helper.tell(message["line"])
            elif message.get("close"):
                helper.close_stdin()
            elif message.get("end"):
                self._run(helper.close(grace_s(message["end"])))
            return
        if len(self._tasks) >= MOST_AT_WORK:
            busy = InputError(
                "doing", shown(message.get("do")), f"{MOST_AT_WORK} requests wait for their answers", "ask later"
            )
            self._refuse(message.get("id"), busy)
            return
        self._run(self._answer(message, blob))

    def _is_not_read(self) -> None:
        """The caller does not read what it is told."""
        self.ended_because = "it did not read what it was told"
        self._run(self.close())

    def _refuse(self, number: object, error: EarwitnessError) -> None:
        failure = {"kind": type(error).__name__, **failure_values(error)}
        self.channel.send({"re": number, "failure": failure})

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message, blob: bytes) -> None:
        number, do = message.get("id"), message.get("do")
        value: Any = None
        back = b""
        try:
            given = fields(message.get("with", {}), what="with")
            if self._ending and do not in ("leave", "files", "fetch"):
                raise InputError("doing", shown(do), "the call is being ended", "ask when it has ended")
            if do == "begin":
                await self._begin(given["call_id"])
            elif do == "speech":
                self._keep_speech(blob)
            elif do == "device":
                value = self._make_device(device_number(given))
            elif do == "remove_device":
                self._remove_device(device_number(given))
            elif do == "capture":
                await self._capture(self._new_child(given), given["interface"])
            elif do == "phone":
                await self._phone(self._new_child(given), AGENT)
            elif do == "linphone":
                argv = [*LINPHONE_AGENT, str(self._here.file(RECORDING))]
                await self._phone(self._new_child(given), argv)
            elif do == "forwarder":
                await self._forwarder(self._new_child(given), device_number(given))
            elif do == "tunnel":
                child = self._new_child(given)
                value = await self._tunnel(child, device_number(given), given["security"], given["nodelay"])
            elif do in SERVICES:
                value = await self._services.open(do, given)
            elif do == "result":
                value = await self._services.result(given["number"])
            elif do == "close":
                await self._services.close(given["number"])
            elif do == "files":
                value = self._of(given).files()
            elif do == "fetch":
                path = self._of(given).file(name(given["name"], what="name"))
                with open_regular(path, follow=False) as file:
                    file.seek(whole(given["offset"], what="offset"))
                    back = file.read(CHUNK_BYTES)
            elif do == "leave":
                await self.close()
            else:
                raise InputError("doing", shown(do), "no such request", "run the same Earwitness on both machines")
        except EarwitnessError as error:
            self._refuse(number, error)
        except Exception as error:
            # Whoever asked must hear of it; what is no error of the system is a fault, of the request or of ours.
            happened = (
                str(error) if isinstance(error, OSError | UntrustedValue) else f"{type(error).__name__}: {error!s:.300}"
            )
            remedy = "run the same Earwitness on both machines; see there for what is wrong"
            self._refuse(number, EarwitnessError(f"doing {shown(do)} at", self.machine.name, happened, remedy))
        else:
            self.channel.send({"re": number, "value": value}, back)

    # -- what a caller may ask -------------------------------------------------------------------------

    async def _begin(self, call_id: str) -> None:
        await self._close_call()
        self._processes, self._given = Ration(1), set()
        self._stored = self._answering.store.new(name(call_id, 200, what="call_id"))
        self.call_id = call_id

    def _keep_speech(self, sound: bytes) -> None:
        if len(sound) > LONGEST_SPEECH_BYTES:
            raise InputError("taking the speech of", f"{len(sound)} bytes", "it is too long", "give a shorter file")
        self._here.file(SPEECH).write_bytes(sound)

    async def _capture(self, child: int, interface: str) -> None:
        self._address_of(interface)
        # On the machine's own device there is more than the call.
        ports = PhonePorts().all if interface == self.machine.interface else ()
        out = self._here.file(CAPTURE)
        if out.exists():
            raise InputError("capturing again for", self.call_id, "it has its capture", "begin another call")
        argv = capture_command(interface, out, self._answering.epoch_offset_ns, ports=ports, most_bytes=MOST_CAPTURED)
        await self._helper(child, "capture", argv)

    async def _phone(self, child: int, argv: Sequence[str]) -> None:
        await self._helper(child, "phone", argv, first=self._phone_setup, then=phone_command)

    async def _forwarder(self, child: int, number: int) -> None:
        descriptor, _ = self._devices[number]
        machine = self._answering.machine
        alone = False

        def first(config: dict[str, Any]) -> dict[str, Any]:
            nonlocal alone
            alone, asked = forwarder_setup(config)
            return {
                **asked,
                "role": "callee",  # one that connects to others is not to be had here
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

    async def _tunnel(self, child: int, number: int, security: str, nodelay: bool) -> dict[str, Any] | None:
        """The callee's OpenVPN, its files gone as soon as it has read them; the caller's part of the keys is told."""
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
        """The address at which this machine takes a path's streams."""
        return _ANY if self._answering.reached_at else self._answering.machine.address

    def _addresses(self) -> dict[str, str]:
        """This side's addresses in the call, by device."""
        known = {f"ew{number}": callee_address(number) for number in self._devices} | self._tunnels
        if self.machine.interface:
            known[self.machine.interface] = self.machine.address
        return known

    def _address_of(self, interface: str) -> str:
        """The address of a device of this call. `InputError` for any other device."""
        known = self._addresses()
        if interface not in known:
            raise InputError("using", interface or "this machine", "not a device of this call", "see its path")
        return known[interface]

    def _listens_alone(self) -> tuple[str, int]:
        if self._alone is None:
            raise InputError("offering", "an onion service", "no forwarder listens for one", "report this as a bug")
        return self._alone

    def _phone_setup(self, setup: dict[str, Any]) -> dict[str, Any]:
        """The phone has this machine's clock, the call's address, and no file to speak but what was sent for the call.

        Raises `UntrustedValue` and `InputError`.
        """
        asked = PhoneSetup.from_dict(setup)
        if asked.address not in self._addresses().values():
            raise InputError("binding a phone to", asked.address, "not an address of this call", "see its path")
        speech = asked.speech if asked.speech in ("", *speech_names()) else str(self._here.file(SPEECH))
        return replace(asked, speech=speech, epoch_offset_ns=self._answering.epoch_offset_ns).to_dict()

    def _make_device(self, number: int) -> bool:
        if len(self._devices) >= MOST_DEVICES:
            raise InputError("making a device beside", f"{MOST_DEVICES} others", "a call needs one", "remove some")
        with contextlib.ExitStack() as stack:
            descriptor = stack.enter_context(callee_device(self._answering.machine, number))
            if descriptor is None:
                return False
            self._devices[number] = (descriptor, stack.pop_all())
        return True

    def _remove_device(self, number: int) -> None:
        if number in self._devices:
            self._devices.pop(number)[1].close()

    def _new_child(self, given: Mapping[str, Any]) -> int:
        """The number by which the caller will know a process. `InputError` where it has one of that number."""
        number = given["child"]
        if type(number) is not int or not 0 <= number < MOST_COUNT or number in self._given:
            happened = "that is no number that is free"
            raise InputError("starting process", shown(number), happened, "report this as a bug")
        self._given.add(number)
        return number

    async def _helper(
        self,
        number: int,
        kind: str,
        argv: Sequence[str],
        *,
        first: Lines = as_it_is,
        then: Lines = as_it_is,
        said: Lines = as_it_is,
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
            raise InputError("keeping what belongs to", "no call", "none was begun", "run the same Earwitness there")
        return self._stored

    def _of(self, given: Mapping[str, Any]) -> StoredEnd:
        return self._answering.store.find(given["call_id"]) if given.get("call_id") else self._here

    def note(self, name: str, event: Mapping[str, Any]) -> None:
        """Write down what a process said."""
        if self._stored is not None:
            with contextlib.suppress(OSError):  # the capture itself tells of a full disk
                self._stored.note(name, event)

    # -- the end ---------------------------------------------------------------------------------------

    async def watch_over(self) -> None:
        """End the visit of a caller that does not come back, once no media of its call come in any more."""
        received, grown = 0, time.monotonic()
        # Seldom enough that asking does not disturb the phone, which goes on measuring.
        look_every_s = max(1.0, self._answering.patience_s / 10)
        while not self.ended.is_set():
            await asyncio.sleep(look_every_s)
            now = time.monotonic()
            if now - self._begun > LONGEST_CALL_S:
                self.ended_because = f"it stayed for more than {LONGEST_CALL_S:g} s"
                await self.close()
                continue
            if self.away_since is None:
                grown = now
                continue
            here = await self._media_received()
            if here > received:
                received, grown = here, now
            away = now - self.away_since
            if min(away, now - grown) > self._answering.patience_s:
                await self.close()

    async def _media_received(self) -> int:
        """RTP packets that the call's phone has received so far."""
        phones = [helper for helper in self._helpers.values() if helper.name == "phone"]
        reports = await asyncio.gather(*(phone.report() for phone in phones))
        return sum(report.get("packets_received", 0) for report in reports)

    async def close(self) -> None:
        """End every process, with its last word written down, and the visit."""
        if not self.ended.is_set():
            try:
                await self._close_call()
            finally:
                self._ending = True
                self.ended.set()

    async def _close_call(self) -> None:
        # What a request opens from now on would belong to no call, and stay.
        self._ending = True
        try:
            await self._end_all()
        finally:
            self._ending = False

    async def _end_all(self) -> None:
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        helpers, self._helpers = list(self._helpers.values()), {}
        try:
            phones = [helper for helper in helpers if helper.name == "phone"]
            for report in await asyncio.gather(*(phone.report() for phone in phones)):
                self.note("phone", {"event": "report", "value": report})
            await asyncio.gather(*(helper.close(_GRACE_S) for helper in helpers), return_exceptions=True)
        finally:
            await self._services.close_all()
            self._tunnels.clear()
            self._alone = None
            for number in list(self._devices):
                self._remove_device(number)
