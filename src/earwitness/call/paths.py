"""The path that a plan requests; the same code in the lab and outside."""

from __future__ import annotations

from pathlib import Path as FilePath

from earwitness.call.plan import CallPlan
from earwitness.errors import InputError
from earwitness.path.base import Path
from earwitness.path.circuit_cache import CircuitCache
from earwitness.path.kind import Surroundings
from earwitness.tor.description import TorNetwork


def path_of(
    plan: CallPlan,
    tor: TorNetwork | None,
    scratch: FilePath,
    *,
    kept: CircuitCache | None = None,
    bridged: bool = False,
) -> Path:
    """The path, not yet open. Raises `InputError` if it needs a Tor network and there is none.

    `scratch`: directory for the path's temporary files; `kept`: cache of kept circuits; `bridged`: see `VpnPath`.
    """
    if plan.over_tor and tor is None:
        raise InputError(
            "calling over", plan.path, "there is no Tor network", "use the lab, or the public Tor network", field="path"
        )
    return plan.path_kind.build(plan, Surroundings(scratch, tor, kept, bridged))
