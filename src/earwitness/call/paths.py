"""The path that a plan asks for, the same in the lab and outside."""

from __future__ import annotations

from pathlib import Path as FilePath

from earwitness.call.plan import CallPlan
from earwitness.errors import InputError
from earwitness.path.base import Path
from earwitness.path.circuit_cache import KeptCircuits
from earwitness.path.direct import DirectPath
from earwitness.path.onion import OnionPath
from earwitness.path.tcp import TcpPath
from earwitness.path.tor import TorPath
from earwitness.path.vpn import VpnPath, vpn_tor_path
from earwitness.path.vpn_config import Security
from earwitness.tor.description import TorNetwork
from earwitness.tor.select import CircuitRequest


def path_of(
    plan: CallPlan,
    tor: TorNetwork | None,
    scratch: FilePath,
    *,
    kept: KeptCircuits | None = None,
    bridged: bool = False,
) -> Path:
    """The path, not open yet. Raises `InputError` where it needs a Tor network and there is none.

    `scratch` is for short-lived files of the path, `kept` for the circuits that are kept; `bridged`: see `VpnPath`.
    """
    if plan.path == "direct":
        return DirectPath()
    if plan.path == "tcp":
        return TcpPath()
    security = Security(plan.security)
    if plan.path == "vpn":
        return VpnPath(scratch, security=security, nodelay=plan.tunnel_nodelay, bridged=bridged)
    if tor is None:
        raise InputError(
            "calling over", plan.path, "there is no Tor network", "use the lab, or the public Tor network", field="path"
        )
    if plan.path == "onion":
        return OnionPath(tor, scratch, single=plan.single_onion, nodelay=plan.relay_nodelay)
    request = CircuitRequest(plan.hops, plan.guard, plan.middle, plan.exit, plan.seed)
    if plan.path == "tor":
        return TorPath(request, tor, keep_circuit=plan.keep_circuit, kept=kept, nodelay=plan.relay_nodelay)
    return vpn_tor_path(
        request,
        tor,
        scratch,
        security=security,
        tunnel_nodelay=plan.tunnel_nodelay,
        keep_circuit=plan.keep_circuit,
        kept=kept,
        nodelay=plan.relay_nodelay,
        bridged=bridged,
    )
