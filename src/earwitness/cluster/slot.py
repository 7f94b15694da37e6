"""A study's calls between vantages: placed from one machine to another, scored on any, stored here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty
from earwitness.archive.record import write_record
from earwitness.archive.stored import StoredCall
from earwitness.archive.storing import storing
from earwitness.call.builder import CallBuilder
from earwitness.call.plan import CallPlan
from earwitness.cluster.members import Cluster, Member, WorkerLost
from earwitness.cluster.orders import Order, Placed, VantageBusy, end_call, invite, place_call
from earwitness.cluster.parcel import unpack
from earwitness.cluster.scoring import Evaluated, evaluate_parcel, score_placed
from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.geography import place as find_place
from earwitness.utc import utc_text
from earwitness.version import __version__

T = TypeVar("T")

NETWORK = "public"
"""Value of the column `network` for calls between machines, as for `call --to`."""
_INVITE_S = 60.0
_BUSY_S = 2.0
_INTERRUPTED_S = 60.0


class ClusterSlot:
    """Places one call at a time between the vantages of its places. Concurrent slots never share a place."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        run: str,
        patience_s: float,
        given_up: asyncio.Event,
        command: tuple[str, ...] = (),
    ) -> None:
        """`run`: identifies this run of the study; `patience_s`: how long to wait for a missing vantage, unless
        `given_up`.
        """
        self.name = name
        self._cluster, self._run, self._command = cluster, run, command
        self._patience_s, self._given_up = patience_s, given_up
        self._under_way: tuple[Order, Member] | None = None

    async def place(self, plan: CallPlan, call_id: str, dataset: Dataset, off_air: Callable[[], None]) -> StoredCall:
        """See `earwitness.study.slot.Slot`. A missing vantage is waited for before the call begins."""
        placing = asyncio.create_task(self._placed(plan, call_id))
        cancelled: asyncio.CancelledError | None = None
        try:
            placed = await asyncio.shield(placing)
        except asyncio.CancelledError as stop:
            interrupted = await _despite_cancellation(self._interrupted(placing))
            if interrupted is None:
                raise  # it had not begun
            placed, cancelled = interrupted, stop
        except _EndLost as lost:
            placed = _lost(plan, call_id, lost, self._command)
        off_air()
        with dataset.new_call(call_id) as folder, storing(folder):
            if cancelled is None:
                record, files = await self._scored(placed)
            else:
                record, files = evaluate_parcel(placed.live, placed.files)
            unpack(files, folder)
            write_record(folder, record)
        if cancelled is not None:
            raise cancelled
        return dataset.call(call_id)

    async def trouble(self) -> str | None:
        """None: the next call that needs a missing vantage waits for it."""
        return None

    async def _placed(self, plan: CallPlan, call_id: str) -> Placed:
        """Place the call between two available vantages. Raises `_EndLost` if one disappeared during the call."""
        troubled_s: float | None = None
        from_place, to_place = (str(find_place(city)) for city in (plan.from_place, plan.to_place))
        while True:
            caller, callee = await self._cluster.ends(from_place, to_place, self._patience_s, self._given_up)
            try:
                invitation = await self._cluster.run(callee.worker, invite, self._run, within_s=_INVITE_S)
                order = Order(self._run, call_id, plan, callee.facts.answers_at, invitation, self._command)
                return await self._on_air(order, caller)
            except (VantageBusy, WorkerLost) as trouble:  # before the call: wait as for a missing vantage
                troubled_s = troubled_s or time.monotonic()
                if self._given_up.is_set() or time.monotonic() - troubled_s > self._patience_s:
                    if isinstance(trouble, VantageBusy):
                        raise
                    happened = f"its vantage does not answer ({trouble})"
                    raise EarwitnessError(
                        "inviting a call to", to_place, happened, "check that it is running"
                    ) from trouble
            await asyncio.sleep(_BUSY_S)

    async def _on_air(self, order: Order, caller: Member) -> Placed:
        self._under_way = order, caller
        begun = utc_text(time.time_ns())
        try:
            placed: Placed = await self._cluster.run(caller.worker, place_call, order)
        except WorkerLost as lost:
            raise _EndLost(
                CallFailure(
                    Outcome.REMOTE_LOST,
                    "placing the call from the vantage",
                    on=f"{caller.facts.name} at {order.plan.from_place}",
                    happened=f"it, or the scheduler, was lost during the call ({lost})",
                    remedy=f"check that `earwitness vantage --at {order.plan.from_place!r}` runs there",
                ),
                begun,
            ) from lost
        finally:
            self._under_way = None
        if placed.live.record.outcome is Outcome.REMOTE_REFUSED:
            # The keys were created a moment ago and transferred safely, so the vantage was restarted in between.
            placed = replace(
                placed, live=replace(placed.live, record=replace(placed.live.record, outcome=Outcome.REMOTE_LOST))
            )
        return placed

    async def _scored(self, placed: Placed) -> Evaluated:
        scorers = 0
        with contextlib.suppress(WorkerLost):
            scorers = await self._cluster.scorers()
        return await score_placed(self._cluster.client, placed, scorers)

    async def _interrupted(self, placing: asyncio.Task[Placed]) -> Placed | None:
        """End the call now and return its partial result; None if it had not begun, or its end is lost."""
        with contextlib.suppress(EarwitnessError, _EndLost, WorkerLost, TimeoutError):
            if placing.done():
                return placing.result()
            if self._under_way is not None:
                order, caller = self._under_way
                await self._cluster.run(caller.worker, end_call, order.call_id, within_s=_INTERRUPTED_S)
                return await asyncio.wait_for(placing, _INTERRUPTED_S)
        placing.cancel()
        await asyncio.gather(placing, return_exceptions=True)
        return None


class _EndLost(Exception):
    """The caller's vantage disappeared during the call."""

    def __init__(self, failure: CallFailure, begun: str) -> None:
        """`begun`: when the call was requested."""
        super().__init__(str(failure))
        self.failure, self.begun = failure, begun


def _lost(plan: CallPlan, call_id: str, lost: _EndLost, command: tuple[str, ...]) -> Placed:
    """The record of a call of which only its start and the reason for its end are known."""
    builder = CallBuilder(call_id, plan, NETWORK, command, started_at=lost.begun)
    builder.record = replace(
        builder.record,
        caller=CallParty(place=plan.from_place),
        callee=CallParty(place=plan.to_place),
        versions={"earwitness": __version__},
    )
    return Placed(builder.placed(lost.failure.outcome, lost.failure), {})


async def _despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """The work's result, even if this task is cancelled again meanwhile; the work ends by itself."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
