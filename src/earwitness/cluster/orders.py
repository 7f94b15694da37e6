"""Requests from the machine that runs a study to the vantages, and their results: values sent over Dask's TLS.

Calls are requested out of band (`Client.run`), not as tasks: Dask recomputes a task whose result is lost, but only the
study may decide to place a call again.
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
"""Attribute under which a vantage's worker holds its `earwitness.cluster.vantage.Vantage`."""


class VantageBusy(EarwitnessError):
    """The vantage is in a call of another run."""


@dataclass(frozen=True)
class Facts:
    """A vantage's description of itself."""

    name: str
    place: str
    """City and country, for example `London, GB`, because city names are ambiguous."""
    answers_at: tuple[str, int]


@dataclass(frozen=True)
class Order:
    """One call to place from a vantage to another."""

    run: str
    """The run of the study that asks: an earlier call of the same run gives way, another run's does not."""
    call_id: str
    plan: CallPlan
    callee: tuple[str, int]
    invitation: Invitation = field(repr=False)
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A call that has ended on the network: what is known about it, and its captures."""

    live: PlacedCall
    files: Files = field(repr=False)


def describe(dask_worker: Any) -> Facts:
    """Runs on a vantage: its description."""
    facts: Facts = dask_worker.extensions[EXTENSION].facts
    return facts


async def invite(run: str, dask_worker: Any) -> Invitation:
    """Runs on the callee's vantage: prepare for one caller. Raises `VantageBusy`."""
    invitation: Invitation = await dask_worker.extensions[EXTENSION].invite(run)
    return invitation


async def place_call(order: Order, dask_worker: Any) -> Placed:
    """Runs on the caller's vantage: place the call, and return its captures. Raises `VantageBusy`."""
    placed: Placed = await dask_worker.extensions[EXTENSION].place_call(order)
    return placed


async def end_call(call_id: str, dask_worker: Any) -> None:
    """Runs on the caller's vantage: interrupt the call, which then returns its partial result."""
    await dask_worker.extensions[EXTENSION].end_call(call_id)
