"""What the machine that runs a study asks of vantages, and what comes back: values that travel over Dask's TLS.

Calls are asked for out of band (`Client.run`), not as tasks: Dask computes a task again when its result is lost, and a
call must never be placed twice but by the study.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from earwitness.call.placed_call import PlacedCall
from earwitness.call.plan import CallPlan
from earwitness.cluster.parcel import Files
from earwitness.errors import EarwitnessError
from earwitness.remote.certificates import Invitation

EXTENSION = "earwitness"
"""Name under which a vantage's worker has its `earwitness.cluster.vantage.Vantage`."""


class VantageBusy(EarwitnessError):
    """The vantage is in a call of somebody else."""


@dataclass(frozen=True)
class Facts:
    """What a vantage says of itself."""

    name: str
    place: str
    """City and country, as in `London, GB`: there is another London."""
    answers_at: tuple[str, int]


@dataclass(frozen=True)
class Order:
    """One call to place from a vantage to another."""

    run: str
    """Which run of a study asks: its own earlier call gives way to it, another's does not."""
    call_id: str
    plan: CallPlan
    callee: tuple[str, int]
    invitation: Invitation = field(repr=False)
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A call that has left the air: what is known of it, and its captures."""

    live: PlacedCall
    files: Files = field(repr=False)


def describe(dask_worker: Any) -> Facts:
    """Runs at a vantage: what it is."""
    facts: Facts = dask_worker.extensions[EXTENSION].facts
    return facts


async def invite(run: str, dask_worker: Any) -> Invitation:
    """Runs at the callee's vantage: make ready for one caller. Raises `VantageBusy`."""
    invitation: Invitation = await dask_worker.extensions[EXTENSION].invite(run)
    return invitation


async def place_call(order: Order, dask_worker: Any) -> Placed:
    """Runs at the caller's vantage: place the call, and bring what was captured. Raises `VantageBusy`."""
    placed: Placed = await dask_worker.extensions[EXTENSION].place_call(order)
    return placed


async def end_call(call_id: str, dask_worker: Any) -> None:
    """Runs at the caller's vantage: interrupt the call, which then comes as it is."""
    await dask_worker.extensions[EXTENSION].end_call(call_id)
