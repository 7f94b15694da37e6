"""`vpn` and `vpn-tor`: an OpenVPN tunnel over TCP from caller to callee, directly or through the caller's tor.

As in the published study, the phones use the tunnel's addresses, and the tunnel through Tor differs only in its SOCKS
proxy. Its one TCP stream is attached to the requested circuit in the same way as the streams of `tor`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from earwitness.netns.host import Host
from earwitness.path.base import REASON_WITHIN_S, CalleeEndpoint, OpenPath, PathEndpoint, PhonePorts
from earwitness.path.bridge import way_out
from earwitness.path.callee_host import CalleeHost
from earwitness.path.circuit import CircuitMaker, OverCircuit
from earwitness.path.circuit_cache import CircuitCache
from earwitness.path.facts import CircuitFacts, PathFacts
from earwitness.path.openvpn import OpenVpn, not_up, start_openvpn, wait_listening
from earwitness.path.tunnel_numbers import tunnel_number
from earwitness.path.vpn_config import Security, client_config
from earwitness.path.vpn_files import CLIENT, TunnelOffer, client_files
from earwitness.tor.description import TorNetwork
from earwitness.tor.gather_or_cancel import gather_or_cancel
from earwitness.tor.select import CircuitRequest

UP_TIMEOUT_S = 30.0
"""A TLS handshake through a slow circuit takes about ten round trips."""
_CIPHER_TIMEOUT_S = 2.0
_STREAM = "tunnel"
"""The SOCKS password, which identifies the stream."""
_NOTES = {
    Security.NONE: "the tunnel was neither encrypted nor authenticated (--security none, as in the published study):"
    " anyone on its way could read and change its packets",
    Security.STATIC: "the tunnel had a shared static key (--security static): no forward secrecy",
}


@dataclass
class OpenVpnPath(OpenPath):
    """An open tunnel; it notices when an OpenVPN, its circuit or its stream ends during the call."""

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
        """The most specific known cause: an OpenVPN that was killed, then tor's reason, then what OpenVPN saw."""
        reason = self._killed or (self.over.monitor.ended() if self.over is not None else None)
        return reason or next((end.problem for end in self._ends if end.problem is not None), None)

    async def _wait_for_cause(self) -> None:
        """Unless killed, an OpenVPN ends because of the other end or the circuit: wait for their reasons."""
        if self._killed is None:
            words = [end.until(lambda this: this.problem is not None, REASON_WITHIN_S) for end in self._ends]
            await gather_or_cancel(
                *words, *([self.over.monitor.wait_until_reported()] if self.over is not None else [])
            )


class VpnPath:
    """The tunnel directly from caller to callee, or through the caller's tor if `circuits` is given.

    Args:
        scratch: directory for configuration and keys while the path is open; on a private tmpfs in the lab.
        security: the tunnel's protection.
        nodelay: TCP_NODELAY on the tunnel's TCP connection.
        circuits: provides the circuit that carries it.
        bridged: the caller is in a sandbox, and its connection leaves through `earwitness.path.bridge`.
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
    async def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AsyncIterator[OpenVpnPath]:
        """Build the circuit, if any, start both ends, and wait until the tunnel carries packets.

        Raises `CallFailure`: `TOOL_MISSING`, `CIRCUIT_FAILED`, `STREAM_REFUSED`, or `PATH_FAILED` with OpenVPN's last
        message; and `InputError` if no relay matches the request.
        """
        begun = time.monotonic_ns()
        async with AsyncExitStack() as stack:
            over = await stack.enter_async_context(self.circuits.making(caller)) if self.circuits else None
            offer, callee_vpn = await stack.enter_async_context(self._offered(caller, callee))
            await wait_listening(callee_vpn)
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
            await gather_or_cancel(*(_up(end, over) for end in (caller_vpn, callee_vpn)))
            if self.security is not Security.NONE:
                # It logs first that it is up, and then the cipher.
                await caller_vpn.until(lambda end: bool(end.cipher), _CIPHER_TIMEOUT_S)
            # It has read its keys and never restarts.
            shutil.rmtree(folder)
            now = time.monotonic_ns()
            facts = PathFacts()
            if self.circuits is not None and over is not None:
                facts = await stack.enter_async_context(self.circuits.settled(over, {}))
            facts = replace(
                facts,
                path_setup_ms=(time.monotonic_ns() - begun) / 1e6,
                tunnel_up_ms=(now - tunnel_begun) / 1e6,
                interface=tunnel.device,
                security=str(self.security),
                tunnel_nodelay=self.nodelay,
                bridged=self.bridged,
                openvpn=caller_vpn.version,
                cipher=caller_vpn.cipher,
            )
            yield OpenVpnPath(
                self.name,
                PathEndpoint(caller, tunnel.caller_address, tunnel.device),
                CalleeEndpoint(callee, tunnel.callee_address, tunnel.device),
                circuit=over.circuit_facts if over else CircuitFacts(),
                facts=facts,
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
    async def _offered(self, caller: Host, callee: CalleeHost) -> AsyncIterator[tuple[TunnelOffer, OpenVpn]]:
        """Start the callee's end, with a device number that is free at both ends."""
        taken_there: set[int] = set()
        while True:
            with tunnel_number(caller, but=taken_there) as number:
                offering = callee.offered_tunnel(number, self.security, nodelay=self.nodelay, scratch=self.scratch)
                async with offering as offered:
                    if offered is not None:
                        yield offered
                        return
                taken_there.add(number)


def vpn_tor_path(
    request: CircuitRequest,
    network: TorNetwork,
    scratch: Path,
    *,
    security: Security = Security.TLS,
    tunnel_nodelay: bool = True,
    keep_circuit: bool = False,
    kept: CircuitCache | None = None,
    nodelay: bool | None = None,
    bridged: bool = False,
) -> VpnPath:
    """The tunnel through Tor; `keep_circuit`, `kept` and `nodelay` (of the relays) as in `CircuitMaker`."""
    circuits = CircuitMaker(request, network, keep_circuit=keep_circuit, kept=kept, nodelay=nodelay)
    return VpnPath(scratch, security=security, nodelay=tunnel_nodelay, circuits=circuits, bridged=bridged)


@asynccontextmanager
async def _client(caller: Host, folder: Path, over: OverCircuit | None) -> AsyncIterator[OpenVpn]:
    """Start the caller's end, with its stream on the circuit if there is one."""
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
    """Whether the tunnel's stream is open, or can no longer open."""
    stream = over.watch.by_label().get(_STREAM)
    return over.control.lost is not None or (
        stream is not None and (stream.status == "SUCCEEDED" or stream.ended is not None)
    )


async def _up(end: OpenVpn, over: OverCircuit | None) -> None:
    """Wait until this end reports that the tunnel is up."""
    if await end.until(lambda this: this.up, UP_TIMEOUT_S):
        return
    if over is not None and (_STREAM not in over.watch.by_label() or await over.monitor.ended_within() is not None):
        raise await over.refusal(_STREAM, end.last_line, {"openvpn": list(end.lines)[-12:]})
    raise not_up(end, UP_TIMEOUT_S)
