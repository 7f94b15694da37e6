"""Paths by name: the built-in ones, whose implementation is imported on opening, and those of other packages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from earwitness import options
from earwitness.errors import InputError
from earwitness.looks import Look
from earwitness.path.kind import CLOSE_CIRCUIT, KILL_TUNNEL, PathKind, PathOptions, Surroundings, TorUse
from earwitness.plugins import Registry

if TYPE_CHECKING:
    from earwitness.path.base import Path
    from earwitness.tor.description import TorNetwork
    from earwitness.tor.select import CircuitRequest

_TUNNEL_BYTES = 20 + 8 + 2 + 24
"""IP and UDP headers of the packet in the tunnel, plus length and header of OpenVPN's packet with an AEAD cipher."""
_SERVICE_RELAYS = 3
"""Relays on an onion service's side of the rendezvous; the caller's side has the same number."""


def _direct(_options: PathOptions, _around: Surroundings) -> Path:
    from earwitness.path.direct import DirectPath

    return DirectPath()


def _tcp(_options: PathOptions, _around: Surroundings) -> Path:
    from earwitness.path.tcp import TcpPath

    return TcpPath()


def _vpn(options: PathOptions, around: Surroundings) -> Path:
    from earwitness.path.vpn import VpnPath
    from earwitness.path.vpn_config import Security

    return VpnPath(
        around.scratch,
        security=Security(options.security),
        nodelay=options.tunnel_nodelay,
        bridged=around.bridged,
    )


def _tor(options: PathOptions, around: Surroundings) -> Path:
    from earwitness.path.tor import TorPath

    return TorPath(
        circuit_request(options),
        tor_of(around),
        keep_circuit=options.keep_circuit,
        kept=around.kept,
        nodelay=options.relay_nodelay,
    )


def _vpn_tor(options: PathOptions, around: Surroundings) -> Path:
    from earwitness.path.vpn import vpn_tor_path
    from earwitness.path.vpn_config import Security

    return vpn_tor_path(
        circuit_request(options),
        tor_of(around),
        around.scratch,
        security=Security(options.security),
        tunnel_nodelay=options.tunnel_nodelay,
        keep_circuit=options.keep_circuit,
        kept=around.kept,
        nodelay=options.relay_nodelay,
        bridged=around.bridged,
    )


def _onion(options: PathOptions, around: Surroundings) -> Path:
    from earwitness.path.onion import OnionPath

    return OnionPath(tor_of(around), around.scratch, single=options.single_onion, nodelay=options.relay_nodelay)


def circuit_request(options: PathOptions) -> CircuitRequest:
    """The circuit that a call's options request."""
    from earwitness.tor.select import CircuitRequest

    return CircuitRequest(options.hops, options.guard, options.middle, options.exit, options.seed)


def tor_of(around: Surroundings) -> TorNetwork:
    """The Tor network for a path over Tor. Raises `InputError` if there is none."""
    if around.tor is None:
        remedy = "give --network public, or use the lab"
        raise InputError("calling over", "Tor", "there is no Tor network", remedy)
    return around.tor


DIRECT = PathKind(
    name="direct",
    summary="plain UDP between the hosts' own addresses",
    usage="direct",
    build=_direct,
    look=Look("direct", "blue"),
    phrase="Without Tor",
    faults=(),
    dials_host_address=True,
    overhead_s=1.0,
)
"""The path that all others are compared with."""

_TCP = PathKind(
    name="tcp",
    summary="TCP streams from host to host, a stream a flow: the control for tor",
    usage="tcp",
    build=_tcp,
    look=Look("TCP", "sky", "long-dot", "cross", "bars"),
    phrase="Over TCP without Tor",
    overhead_s=1.5,  # measured with four calls each, in parallel: 0.5 s longer than direct
)

_VPN = PathKind(
    name="vpn",
    summary="an OpenVPN tunnel over TCP from caller to callee",
    usage="vpn",
    build=_vpn,
    look=Look("VPN", "purple", "dotted", "diamond", "crosses"),
    phrase="Through the VPN",
)

TOR = PathKind(
    name="tor",
    summary="TCP streams over one circuit of chosen relays",
    usage="tor",
    build=_tor,
    look=Look("Tor", "vermilion", "dashed", "square", "slashes"),
    looks_by_hops={2: Look("Tor", "green", "dash-dot", "triangle", "dots")},
    usual_hops=3,
    tor=lambda options: TorUse(relays=options.hops),
    chooses_relays=True,
    faults=(KILL_TUNNEL, CLOSE_CIRCUIT),
    reaches_own_address=True,
)

_VPN_TOR = replace(
    _VPN,
    name="vpn-tor",
    summary="that tunnel over one circuit of chosen relays, as in the published study",
    usage="vpn-tor",
    build=_vpn_tor,
    look=Look("VPN over Tor", "orange", "long", "wedge", "backslashes"),
    phrase="",
    tor=lambda options: TorUse(relays=options.hops, wrapping_bytes=_TUNNEL_BYTES),
    chooses_relays=True,
    faults=(KILL_TUNNEL, CLOSE_CIRCUIT),
    reaches_own_address=True,
)

_ONION = PathKind(
    name="onion",
    summary="TCP streams to an onion service beside the callee, over relays that tor chooses",
    usage="onion",
    build=_onion,
    look=Look("onion service", "black", "dash-dot-dot", "plus", "grid"),
    tor=lambda options: TorUse(relays=_SERVICE_RELAYS if options.single_onion else 2 * _SERVICE_RELAYS),
    single_onion=True,
    tor_at_callee=True,
    faults=(KILL_TUNNEL, CLOSE_CIRCUIT),
    reaches_own_machine=True,
    reaches_own_address=True,
)

PATHS = Registry("path", "earwitness.paths", PathKind, (DIRECT, _TCP, _VPN, TOR, _VPN_TOR, _ONION))
"""All paths; other packages add theirs through entry points of this group."""


def path_kind(spec: str, tried: str = "planning a call over") -> PathKind:
    """The path that `spec` names (a name, then its options after a colon). Raises `InputError`."""
    return PATHS.get(options.split(spec)[0], tried, spec)


def known_path(spec: str) -> PathKind | None:
    """Like `path_kind`, for the path in a data set: None if it belongs to a plug-in that is not installed."""
    return PATHS.find(options.split(spec)[0])
