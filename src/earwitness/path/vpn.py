"""`vpn` and `vpn-tor`: an OpenVPN tunnel over TCP from caller to callee, straight or through the caller's tor.

As in the published study, the phones use the tunnel's addresses, and the tunnel through Tor differs from the other in
its SOCKS proxy alone. Its one TCP stream is put on the circuit asked for exactly as the streams of `tor` are.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.path.base import WORD_WITHIN_S, End, OpenPath, PhonePorts
from earwitness.path.bridge import way_out
from earwitness.path.circuit import CircuitMaker, OverCircuit
from earwitness.path.circuit_cache import KeptCircuits
from earwitness.path.openvpn import OpenVpn, start_openvpn
from earwitness.path.remote_host import RemoteHost
from earwitness.path.tun import ALL_TAKEN, is_taken
from earwitness.path.vpn_config import Security, Tunnel, callee_address, client_config, device_name
from earwitness.path.vpn_files import CLIENT, SERVER, Offer, client_files, server_files
from earwitness.tor.description import TorNetwork
from earwitness.tor.gather_or_cancel import together
from earwitness.tor.select import CircuitRequest

UP_TIMEOUT_S = 30.0
"""TLS through a slow circuit takes some ten round trips."""
_START_TIMEOUT_S = 10.0
_CIPHER_TIMEOUT_S = 2.0
_STREAM = "tunnel"
"""The SOCKS password, by which the stream is known."""
_NOTES = {
    Security.NONE: "the tunnel was neither encrypted nor authenticated (--security none, as in the published study):"
    " whoever carries its packets could read and change them",
    Security.STATIC: "the tunnel had a shared static key (--security static): no forward secrecy",
}
_numbers_in_use: set[int] = set()


@dataclass
class OpenVpnPath(OpenPath):
    """An open tunnel; it knows when either OpenVPN, its circuit, or its stream ends under the call."""

    caller_vpn: OpenVpn | None = field(default=None, repr=False)
    callee_vpn: OpenVpn | None = field(default=None, repr=False)
    over: OverCircuit | None = field(default=None, repr=False)

    @property
    def _ends(self) -> tuple[OpenVpn, ...]:
        return tuple(end for end in (self.callee_vpn, self.caller_vpn) if end is not None)

    @property
    def _killed(self) -> str | None:
        return next((end.problem for end in self._ends if end.killed), None)

    def failure(self) -> str | None:
        """The cause that says most of those known: an OpenVPN that was killed, tor's reason, what OpenVPN saw of it."""
        reason = self._killed or (self.over.word.ended() if self.over is not None else None)
        return reason or next((end.problem for end in self._ends if end.problem is not None), None)

    async def _told_more(self) -> None:
        """An OpenVPN that ends by itself does so because of the other, or of the circuit."""
        if self._killed is None:
            words = [end.until(lambda this: this.problem is not None, WORD_WITHIN_S) for end in self._ends]
            await together(*words, *([self.over.word.given()] if self.over is not None else []))


class VpnPath:
    """The tunnel straight from caller to callee, or through the caller's tor when `circuits` are given.

    Args:
        scratch: directory for configuration and keys while the path is open; on a tmpfs of ours in the lab.
        security: how the tunnel is protected.
        nodelay: TCP_NODELAY on the tunnel's TCP connection.
        circuits: makes the circuit that it goes over.
        bridged: the caller is in a sandbox, and its connection goes out by `earwitness.path.bridge`.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        security: Security = Security.TLS,
        nodelay: bool = True,
        circuits: CircuitMaker | None = None,
        bridged: bool = False,
    ) -> None:
        self.name = "vpn" if circuits is None else "vpn-tor"
        self.scratch = scratch
        self.security = security
        self.nodelay = nodelay
        self.circuits = circuits
        self.bridged = bridged

    @asynccontextmanager
    async def open(self, caller: Host, callee: Host, ports: PhonePorts) -> AsyncIterator[OpenVpnPath]:
        """Build the circuit where there is to be one, start both ends, and wait until the tunnel carries packets.

        Raises `CallFailure`: `TOOL_MISSING`, `CIRCUIT_FAILED`, `STREAM_REFUSED`, or `PATH_FAILED` with OpenVPN's last
        word; and `InputError` where no relay is as asked for.
        """
        begun = time.monotonic_ns()
        async with AsyncExitStack() as stack:
            over = await stack.enter_async_context(self.circuits.making(caller)) if self.circuits else None
            offer, callee_vpn = await stack.enter_async_context(self._offered(caller, callee))
            await _listening(callee_vpn)
            tunnel = replace(offer.tunnel, socks=over.socks if over else None)
            if self.bridged:
                out = tunnel.socks or (tunnel.server, tunnel.port)
                inner = await stack.enter_async_context(way_out(out, nodelay=self.nodelay))
                tunnel = (
                    replace(tunnel, socks=inner) if tunnel.socks else replace(tunnel, server=inner[0], port=inner[1])
                )
            username = over.username if over else ""
            folder = stack.enter_context(client_files(self.scratch, tunnel, offer.keys, username, _STREAM))
            if over is not None:
                await over.built()
            tunnel_begun = time.monotonic_ns()
            caller_vpn = await stack.enter_async_context(_client(caller, folder, over))
            await together(*(_up(end, over) for end in (caller_vpn, callee_vpn)))
            if self.security is not Security.NONE:
                # It logs that it is up first, and what protects the data next.
                await caller_vpn.until(lambda end: bool(end.cipher), _CIPHER_TIMEOUT_S)
            # It has read its keys, and never starts over.
            shutil.rmtree(folder)
            now = time.monotonic_ns()
            details: dict[str, Any] = {
                "tunnel_up_ms": (now - tunnel_begun) / 1e6,
                "interface": tunnel.device,
                "security": str(self.security),
                "tunnel_nodelay": self.nodelay,
                "bridged": self.bridged,
                "openvpn": caller_vpn.version,
                "cipher": caller_vpn.cipher,
            }
            if self.circuits is not None and over is not None:
                details.update(await stack.enter_async_context(self.circuits.settled(over, {})))
            yield OpenVpnPath(
                self.name,
                End(caller, tunnel.caller_address, tunnel.device),
                End(callee, tunnel.callee_address, tunnel.device),
                circuit_id=str(over.circuit.id) if over else "",
                hops=over.hops if over else (),
                details={"path_setup_ms": (time.monotonic_ns() - begun) / 1e6, **details},
                files={"caller.ovpn": client_config(tunnel), "callee.ovpn": offer.config},
                notes=(_NOTES[self.security],) if self.security in _NOTES else (),
                processes={
                    **{f"openvpn on {end.host.name}": end.pid for end in (caller_vpn, callee_vpn) if end.pid},
                    **({"bridge": os.getpid()} if self.bridged else {}),
                },
                faults={"kill-tunnel": callee_vpn.kill, **(over.faults if over else {})},
                caller_vpn=caller_vpn,
                callee_vpn=callee_vpn,
                over=over,
            )

    @asynccontextmanager
    async def _offered(self, caller: Host, callee: Host) -> AsyncIterator[tuple[Offer, OpenVpn]]:
        """The callee's end, started; its device's number is free at both ends."""
        if not isinstance(callee, RemoteHost):
            with _number(caller, callee) as number, ExitStack() as files:
                port = free_port(callee, callee.address)
                tunnel = Tunnel(
                    server=callee.address, port=port, security=self.security, nodelay=self.nodelay, number=number
                )
                folder, offer = files.enter_context(server_files(self.scratch, tunnel))
                async with OpenVpn.over(callee, await start_openvpn(callee, folder, SERVER)) as end:
                    await _listening(end)
                    files.close()  # it has read its keys
                    yield offer, end
            return
        taken_there: set[int] = set()
        while True:
            with _number(caller, but=taken_there) as number:
                started = await callee.start_tunnel(number, self.security, nodelay=self.nodelay)
                if started is None:
                    taken_there.add(number)
                    continue
                offer, child = started
                async with OpenVpn.over(callee, child) as end:
                    yield offer, end
                return


def vpn_tor_path(
    request: CircuitRequest,
    network: TorNetwork,
    scratch: Path,
    *,
    security: Security = Security.TLS,
    tunnel_nodelay: bool = True,
    keep_circuit: bool = False,
    kept: KeptCircuits | None = None,
    nodelay: bool | None = None,
    bridged: bool = False,
) -> VpnPath:
    """The tunnel through Tor; `keep_circuit`, `kept` and `nodelay` (of the relays) as `CircuitMaker` has them."""
    circuits = CircuitMaker(request, network, keep_circuit=keep_circuit, kept=kept, nodelay=nodelay)
    return VpnPath(scratch, security=security, nodelay=tunnel_nodelay, circuits=circuits, bridged=bridged)


@asynccontextmanager
async def _client(caller: Host, folder: Path, over: OverCircuit | None) -> AsyncIterator[OpenVpn]:
    """The caller's end, its stream on the circuit where there is one."""
    async with AsyncExitStack() as stack:
        if over is None:
            yield await stack.enter_async_context(OpenVpn.over(caller, await start_openvpn(caller, folder, CLIENT)))
            return
        async with over.watch.attaching():
            end = await stack.enter_async_context(OpenVpn.over(caller, await start_openvpn(caller, folder, CLIENT)))
            attached = asyncio.ensure_future(over.control.until(lambda: _stream_is_settled(over)))
            ended = asyncio.ensure_future(end.until(lambda this: this.problem is not None, UP_TIMEOUT_S))
            try:
                await asyncio.wait({attached, ended}, timeout=UP_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                attached.cancel()
                ended.cancel()
        yield end


def _stream_is_settled(over: OverCircuit) -> bool:
    """Whether the exit has taken the tunnel's stream, or it will not be taken any more."""
    stream = over.watch.by_label().get(_STREAM)
    return over.control.lost is not None or (
        stream is not None and (stream.status == "SUCCEEDED" or stream.ended is not None)
    )


async def _listening(end: OpenVpn) -> None:
    """Wait until the callee's end takes connections."""
    if not await end.until(lambda this: this.listening, _START_TIMEOUT_S):
        raise _not_up(end, _START_TIMEOUT_S)


async def _up(end: OpenVpn, over: OverCircuit | None) -> None:
    """Wait until this end says that the tunnel is up."""
    if await end.until(lambda this: this.up, UP_TIMEOUT_S):
        return
    if over is not None and (_STREAM not in over.watch.by_label() or await over.word.heard() is not None):
        raise await over.refusal(_STREAM, end.last_word, {"openvpn": list(end.lines)[-12:]})
    raise _not_up(end, UP_TIMEOUT_S)


def _not_up(end: OpenVpn, waited_s: float) -> CallFailure:
    return CallFailure(
        Outcome.PATH_FAILED,
        "opening an OpenVPN tunnel at the",
        on=end.host.name,
        happened=end.problem or f"not up after {waited_s:g} s; its last word: {end.last_word}",
        remedy="see the evidence in the record for its log",
        evidence={"host": end.host.name, "openvpn": list(end.lines)[-12:]},
    )


@contextmanager
def _number(*hosts: Host, but: Collection[int] = ()) -> Iterator[int]:
    """A number whose device and network are free at these hosts, ours until leaving; none of `but`."""
    for number in range(255):
        if number not in _numbers_in_use and number not in but and not any(_taken(host, number) for host in hosts):
            _numbers_in_use.add(number)
            try:
                yield number
            finally:
                _numbers_in_use.discard(number)
            return
    raise CallFailure(
        Outcome.PATH_FAILED,
        "opening an OpenVPN tunnel at the",
        on=hosts[0].name,
        happened=ALL_TAKEN,
        remedy="end other calls",
    )


def _taken(host: Host, number: int) -> bool:
    with host.inside():
        return tunnel_is_taken(number)


def tunnel_is_taken(number: int) -> bool:
    """Whether the calling thread's network has the tunnel's device, or its network, already."""
    return is_taken(device_name(number), callee_address(number))


def free_port(host: Host, address: str, wanted: int = 0) -> int:
    """A TCP port that nobody has at the host's address now: the wanted one, 0 for any.

    Raises `CallFailure` (`PORT_TAKEN`) where it is in use.
    """
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as OpenVPN has it: old connections are no matter
        try:
            sock.bind((address, wanted))
            sock.listen(1)
        except OSError as error:
            raise CallFailure(
                Outcome.PORT_TAKEN,
                "taking a tunnel's TCP connection at",
                on=f"{address}:{wanted} of {host.name}",
                happened=error.strerror,
                remedy="choose another media port",
            ) from error
        return int(sock.getsockname()[1])
