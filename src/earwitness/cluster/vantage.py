"""A vantage: this machine as caller and callee of calls, one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from earwitness.call.builder import CallBuilder
from earwitness.call.measure import interrupted
from earwitness.call.place import attempt_call
from earwitness.call.plan import CallPlan
from earwitness.call.public_network import Politeness, public_tor
from earwitness.call.remote_network import CALLER, RemoteNetwork
from earwitness.cluster.orders import Facts, Order, Placed, VantageBusy
from earwitness.cluster.parcel import pack
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Listener, Notice, WarningGiven, ignore
from earwitness.remote.answer import Answerer
from earwitness.remote.answering import Answering
from earwitness.remote.certificates import AnswerKeys, Invitation
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.description import TorNetwork

INVITED_S = 30.0
"""An invited caller that does not appear within this time frees the vantage for others."""
_CONSENSUS_S = 600.0
"""Age at which tor is asked for relays again; a consensus is valid for an hour."""
_LONGEST_TURN_S = 3700.0
_LOOK_S = 5.0


class Vantage:
    """One end of calls. Its methods run in the event loop of its worker (`earwitness.cluster.orders`)."""

    def __init__(
        self,
        facts: Facts,
        answering: Answering,
        listener: socket.socket,
        politeness: Politeness,
        scratch: Path,
        *,
        tor_control: ControlAddress | None = None,
        on_event: Listener = ignore,
    ) -> None:
        """`listener`: for incoming callers; `scratch`: a private folder for temporary files, including calls."""
        self.facts, self._scratch = facts, scratch
        self._answering, self._listener, self._politeness = answering, listener, politeness
        self._tor_control, self._on_event = tor_control, on_event
        self._answerer: Answerer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._invited: tuple[str, float] | None = None
        self._calling: tuple[Order, asyncio.Task[Placed]] | None = None
        self._tor: tuple[TorNetwork, float] | None = None

    # -- the callee's end ------------------------------------------------------------------------------

    async def invite(self, run: str) -> Invitation:
        """Create the keys for one call; an earlier invitation becomes invalid. Raises `VantageBusy`."""
        await self._give_way(run)
        await self._stop_answering()
        keys, invitation = AnswerKeys.make("")
        self._answerer = Answerer(keys, self._answering, self._on_event)
        self._serving = asyncio.create_task(self._answerer.serve(self._listener))
        self._invited = run, time.monotonic()
        return invitation

    async def _stop_answering(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
            self._serving = self._answerer = None

    # -- the caller's end ------------------------------------------------------------------------------

    async def place_call(self, order: Order) -> Placed:
        """Place a call, to its end. Raises `VantageBusy`, and `EarwitnessError` if it could not be started at all."""
        await self._give_way(order.run)
        task = asyncio.create_task(self._placed(order))
        calling = self._calling = order, task
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            remedy = "place it again"
            raise EarwitnessError(
                "placing the call", order.call_id, "it was interrupted before it began", remedy
            ) from None
        finally:
            if self._calling is calling:  # not a newer call that replaced this one
                self._calling = None

    async def _placed(self, order: Order) -> Placed:
        plan = order.plan
        with tempfile.TemporaryDirectory(prefix="call-", dir=self._scratch) as name:
            folder = Path(name)
            async with self._turn(plan):
                tor = await self._known_relays() if plan.over_tor else None
                network = RemoteNetwork(order.callee, order.invitation, self._scratch, tor=tor)
                notebook = CallBuilder(order.call_id, plan, network.name, order.command)
                self._on_event(Notice(f"call {order.call_id} to {plan.to_place}"))
                try:
                    live = await attempt_call(plan, network, folder, notebook, self._on_event)
                except asyncio.CancelledError:
                    live = interrupted(notebook)
            self._on_event(Notice(f"call {order.call_id}: {live.record.outcome_detail or live.record.outcome}"))
            return Placed(live, pack(folder))

    async def end_call(self, call_id: str) -> None:
        """Interrupt the call with this id, if there is one."""
        if self._calling is not None and self._calling[0].call_id == call_id:
            self._calling[1].cancel()

    @contextlib.asynccontextmanager
    async def _turn(self, plan: CallPlan) -> AsyncIterator[None]:
        """Wait for this machine's turn on the public Tor network."""
        begun, reported = time.monotonic(), False
        with contextlib.ExitStack() as stack:
            while plan.over_tor:
                try:
                    stack.enter_context(self._politeness.turn())
                    break
                except InputError as refused:
                    if time.monotonic() - begun > _LONGEST_TURN_S:
                        raise
                    if not reported:
                        self._on_event(WarningGiven(str(refused)))
                        reported = True
                await asyncio.sleep(_LOOK_S)
            yield

    async def _known_relays(self) -> TorNetwork:
        if self._tor is None or time.monotonic() - self._tor[1] > _CONSENSUS_S:
            self._tor = await public_tor(self._tor_control, CALLER), time.monotonic()
        return self._tor[0]

    # -- both ------------------------------------------------------------------------------------------

    async def _give_way(self, run: str) -> None:
        """Become free for a call of this run.

        An unfinished earlier call of the same run is ended: one of its ends must have died, or the run would not ask.
        """
        calling = self._calling
        if calling is not None:
            if calling[0].run != run:
                raise self._busy(f"call {calling[0].call_id} is being placed from it")
            calling[1].cancel()
            await asyncio.gather(calling[1], return_exceptions=True)
        if self._answerer is None or self._invited is None:
            return
        of_run, at = self._invited
        if of_run == run:
            if self._answerer.busy:
                await self._stop_answering()
        elif self._answerer.busy:
            raise self._busy("it is answering a call of another run")
        elif not self._answerer.visited and time.monotonic() - at < INVITED_S:
            raise self._busy("it is waiting for a caller of another run")

    def _busy(self, happened: str) -> VantageBusy:
        return VantageBusy("calling with the vantage", self.facts.name, happened, "wait until it is free")

    async def end(self) -> None:
        """End everything in progress. (Dask would call a method named `close` whenever a worker ends.)"""
        if self._calling is not None:
            self._calling[1].cancel()
            await asyncio.gather(self._calling[1], return_exceptions=True)
        await self._stop_answering()
        self._listener.close()
