"""`vpn` and `vpn-tor`: an OpenVPN tunnel over TCP from caller to callee, straight or through the caller's tor.

As in the published study, the phones use the tunnel's addresses, and the tunnel through Tor differs from the other in
its SOCKS proxy alone. Its one TCP stream is put on the circuit asked for exactly as the streams of `tor` are.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from earwitness.errors import CallFailure, Outcome
from earwitness.lab.host import Host
from earwitness.path.base import End, OpenPath, PhonePorts
from earwitness.path.circuit import CircuitMaker, OverCircuit
from earwitness.path.kept import KeptCircuits
from earwitness.path.openvpn import OpenVpn
from earwitness.path.vpn_config import SOCKS_AUTH, Security, Tunnel, client_config, key_files, server_config
from earwitness.tor.description import TorNetwork
from earwitness.tor.select import CircuitRequest
from earwitness.tor.together import together

UP_TIMEOUT_S = 30.0
"""TLS through a slow circuit takes some ten round trips."""
_START_TIMEOUT_S = 10.0
_POLL_S = 0.01
_STREAM = "tunnel"
"""The SOCKS password, by which the stream is known."""
_KEYS_HOLD = timedelta(days=1)
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

    def failure(self) -> str | None:
        """The first cause known: tor's reason before what OpenVPN saw of it."""
        if self.over is not None and (reason := self.over.ended()) is not None:
            return reason
        problems = (end.problem for end in (self.callee_vpn, self.caller_vpn) if end is not None)
        return next((problem for problem in problems if problem is not None), None)


class VpnPath:
    """The tunnel straight from caller to callee, or through the caller's tor when `circuits` are given.

    Args:
        scratch: directory for configuration and keys while the path is open; on a tmpfs of ours in the lab.
        security: how the tunnel is protected.
        nodelay: TCP_NODELAY on the tunnel's TCP connection.
        circuits: makes the circuit that it goes over.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        security: Security = Security.TLS,
        nodelay: bool = True,
        circuits: CircuitMaker | None = None,
    ) -> None:
        self.name = "vpn" if circuits is None else "vpn-tor"
        self.scratch = scratch
        self.security = security
        self.nodelay = nodelay
        self.circuits = circuits

    @asynccontextmanager
    async def open(self, caller: Host, callee: Host, ports: PhonePorts) -> AsyncIterator[OpenVpnPath]:
        """Build the circuit where there is to be one, start both ends, and wait until the tunnel carries packets.

        Raises `CallFailure`: `TOOL_MISSING`, `CIRCUIT_FAILED`, `STREAM_REFUSED`, or `PATH_FAILED` with OpenVPN's last
        word; and `InputError` where no relay is as asked for.
        """
        begun = time.monotonic_ns()
        async with AsyncExitStack() as stack:
            over = await stack.enter_async_context(self.circuits.making(caller)) if self.circuits else None
            tunnel = Tunnel(
                server=callee.address,
                port=_free_port(callee),
                security=self.security,
                nodelay=self.nodelay,
                socks=over.socks if over else None,
                number=stack.enter_context(_number(caller, callee)),
            )
            folder = stack.enter_context(_files(self.scratch, tunnel, over.username if over else ""))
            callee_vpn = await stack.enter_async_context(OpenVpn.running(callee, folder, "server.ovpn"))
            if not await callee_vpn.until(lambda end: end.listening, _START_TIMEOUT_S):
                raise _not_up(callee_vpn, _START_TIMEOUT_S)
            if over is not None:
                await over.built()
            tunnel_begun = time.monotonic_ns()
            caller_vpn = await stack.enter_async_context(_client(caller, folder, over))
            await together(*(_up(end, over) for end in (caller_vpn, callee_vpn)))
            # Both have read their keys, and neither ever starts over.
            shutil.rmtree(folder)
            now = time.monotonic_ns()
            details: dict[str, Any] = {
                "tunnel_up_ms": (now - tunnel_begun) / 1e6,
                "interface": tunnel.device,
                "security": str(self.security),
                "tunnel_nodelay": self.nodelay,
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
                files={"caller.ovpn": client_config(tunnel), "callee.ovpn": server_config(tunnel)},
                notes=(_NOTES[self.security],) if self.security in _NOTES else (),
                processes={f"openvpn on {end.host.name}": end.process.pid for end in (caller_vpn, callee_vpn)},
                faults={"kill-tunnel": callee_vpn.kill, **(over.faults if over else {})},
                caller_vpn=caller_vpn,
                callee_vpn=callee_vpn,
                over=over,
            )


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
) -> VpnPath:
    """The tunnel through Tor; `keep_circuit`, `kept` and `nodelay` (of the relays) as `CircuitMaker` has them."""
    circuits = CircuitMaker(request, network, keep_circuit=keep_circuit, kept=kept, nodelay=nodelay)
    return VpnPath(scratch, security=security, nodelay=tunnel_nodelay, circuits=circuits)


@asynccontextmanager
async def _client(caller: Host, folder: Path, over: OverCircuit | None) -> AsyncIterator[OpenVpn]:
    """The caller's end, its stream on the circuit where there is one."""
    async with AsyncExitStack() as stack:
        running = OpenVpn.running(caller, folder, "client.ovpn")
        if over is None:
            yield await stack.enter_async_context(running)
            return
        async with over.watch.attaching():
            end = await stack.enter_async_context(running)
            deadline = time.monotonic() + UP_TIMEOUT_S
            while not _stream_stands(over) and end.problem is None and time.monotonic() < deadline:
                await asyncio.sleep(_POLL_S)
        yield end


def _stream_stands(over: OverCircuit) -> bool:
    stream = over.watch.by_label().get(_STREAM)
    return stream is not None and (stream.status == "SUCCEEDED" or stream.ended is not None)


async def _up(end: OpenVpn, over: OverCircuit | None) -> None:
    """Wait until this end says that the tunnel is up."""
    if await end.until(lambda this: this.up, UP_TIMEOUT_S):
        return
    if over is not None and (_STREAM not in over.watch.by_label() or over.ended() is not None):
        raise over.refusal(_STREAM, end.last_word, {"openvpn": list(end.lines)[-12:]})
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
def _files(scratch: Path, tunnel: Tunnel, username: str) -> Iterator[Path]:
    """A folder of our own with both ends' configuration and keys; gone on leaving, if not before."""
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="vpn-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_files(folder, tunnel, username=username, password=_STREAM, valid=_KEYS_HOLD)
        yield folder


def write_files(folder: Path, tunnel: Tunnel, *, username: str, password: str, valid: timedelta) -> list[Path]:
    """Both ends' configuration, and new keys for them: secrets with mode 0600 from the first byte on.

    Raises `OSError`, also where one of the files is there already.
    """
    contents = {name: (text.encode(), 0o644) for name, text in configs(tunnel).items()}
    contents |= key_files(tunnel.security, datetime.now(UTC), valid)
    if tunnel.socks is not None:
        contents[SOCKS_AUTH] = (f"{username}\n{password}\n".encode(), 0o600)
    written = []
    for name, (content, mode) in contents.items():
        path = folder / name
        path.touch(mode=mode, exist_ok=False)
        path.write_bytes(content)
        written.append(path)
    return written


def configs(tunnel: Tunnel) -> dict[str, str]:
    """Both configuration files by name."""
    return {"client.ovpn": client_config(tunnel), "server.ovpn": server_config(tunnel)}


@contextmanager
def _number(caller: Host, callee: Host) -> Iterator[int]:
    """A number whose device is free at both ends, ours until leaving."""
    taken = _devices(caller) | _devices(callee)
    for number in range(255):
        name = replace(_ANY_TUNNEL, number=number).device
        if number not in _numbers_in_use and name not in taken:
            _numbers_in_use.add(number)
            try:
                yield number
            finally:
                _numbers_in_use.discard(number)
            return
    raise CallFailure(
        Outcome.PATH_FAILED,
        "opening an OpenVPN tunnel at the",
        on=caller.name,
        happened="all 255 devices are in use",
        remedy="end other calls",
    )


_ANY_TUNNEL = Tunnel(server="")


def _devices(host: Host) -> set[str]:
    with host.inside():
        return {name for _, name in socket.if_nameindex()}


def _free_port(host: Host) -> int:
    """A TCP port that nobody has on the host's address now."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.bind((host.address, 0))
        return int(sock.getsockname()[1])
