"""The cluster as seen by a study: its vantages, queried from the scheduler when needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from distributed import Client
from distributed.comm.core import CommClosedError

from earwitness.cluster.dask import SCORING, join
from earwitness.cluster.keys import ClusterKeys
from earwitness.cluster.orders import Facts, describe
from earwitness.cluster.serve import VANTAGE
from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.events import Listener, WarningGiven, ignore

T = TypeVar("T")
_LOOK_S = 1.0
_ANSWER_S = 30.0
"""A worker that does not answer within this time counts as gone, even if the scheduler does not know yet."""


@dataclass(frozen=True)
class Member:
    """An available vantage: its worker's address, and its own description."""

    worker: str
    facts: Facts


class WorkerLost(Exception):
    """A worker, or the scheduler, disappeared before it answered."""


class Cluster:
    """A joined cluster. Use `joined`."""

    def __init__(self, address: str, keys: ClusterKeys, client: Client, on_event: Listener) -> None:
        self.address = address
        self._keys, self._client, self._on_event = keys, client, on_event
        self._facts: dict[str, Facts] = {}
        """By the worker's name, which is unique to one run of the worker."""
        self._rejoining = asyncio.Lock()

    @staticmethod
    @contextlib.asynccontextmanager
    async def joined(address: str, keys: ClusterKeys, on_event: Listener = ignore) -> AsyncIterator[Cluster]:
        """Join, and leave at the end. Raises like `earwitness.cluster.dask.join`."""
        cluster = Cluster(address, keys, await join(address, keys), on_event)
        try:
            yield cluster
        finally:
            with contextlib.suppress(OSError):
                await cluster._client.close()

    @property
    def client(self) -> Client:
        """Dask's client; replaced after the scheduler was away."""
        return self._client

    async def vantages(self) -> list[Member]:
        """The available vantages, in order of their workers' names. `WorkerLost` if the scheduler is gone."""
        workers = await self._workers()
        found = {
            address: str(known["name"]) for address, known in workers.items() if VANTAGE in known.get("resources", {})
        }
        members = []
        for address, name in sorted(found.items(), key=lambda item: item[1]):
            if name not in self._facts:
                with contextlib.suppress(WorkerLost):
                    self._facts[name] = await self.run(address, describe, within_s=_ANSWER_S)
            if name in self._facts:
                members.append(Member(address, self._facts[name]))
        return members

    async def scorers(self) -> int:
        """The number of scoring processes. `WorkerLost` if the scheduler is gone."""
        return sum(SCORING in known.get("resources", {}) for known in (await self._workers()).values())

    async def run(self, worker: str, work: Callable[..., Any], *given: Any, within_s: float | None = None) -> Any:
        """Run a function of `earwitness.cluster.orders` on a worker, out of band.

        Raises the `EarwitnessError` that it raises; `WorkerLost` if the worker or the scheduler disappeared before it
        answered, or the worker's machine failed (a full disk).
        """
        if self._client.scheduler is None:
            raise WorkerLost("there is no connection to the scheduler")
        try:
            async with asyncio.timeout(within_s):
                answers = await self._client.run(work, *given, workers=[worker], on_error="raise")
            return answers[worker]
        except EarwitnessError:
            raise
        except (OSError, KeyError, ValueError) as error:
            closed = isinstance(error, CommClosedError)
            raise WorkerLost("its connection closed" if closed else str(error) or type(error).__name__) from error

    async def ends(
        self, from_place: str, to_place: str, patience_s: float, given_up: asyncio.Event
    ) -> tuple[Member, Member]:
        """The vantages of a call. If one is missing, wait for it up to `patience_s`, with a warning.

        Raises `CallFailure` (`LAB_FAILED`) if one is still missing then, `EarwitnessError` if waiting is given up.
        """
        begun, reported = time.monotonic(), ""
        while True:
            try:
                await self._rejoin()
                members = await self.vantages()
                caller = next((one for one in members if one.facts.place == from_place), None)
                callee = next((one for one in members if one.facts.place == to_place and one != caller), None)
                if caller is not None and callee is not None:
                    return caller, callee
                place, why = to_place if caller else from_place, ""
                missing, remedy = f"a vantage at {place}", f"start `earwitness vantage --at {place!r}`"
            except WorkerLost as lost:
                missing, remedy, why = f"the scheduler at {self.address}", "check that it is running", f" ({lost})"
            if time.monotonic() - begun > patience_s:
                raise CallFailure(
                    Outcome.LAB_FAILED,
                    "waiting for",
                    on=missing,
                    happened=f"it did not appear within {patience_s:g} s{why}",
                    remedy=f"{remedy}, then run the same command to continue",
                )
            if given_up.is_set():
                raise EarwitnessError(
                    "waiting for", missing, "the study is stopped", "run the same command to continue"
                )
            if missing != reported:
                left = patience_s - (time.monotonic() - begun)
                self._on_event(WarningGiven(f"waiting up to {left:.0f} s for {missing}{why}"))
                reported = missing
            await asyncio.sleep(_LOOK_S)

    async def _workers(self) -> Mapping[str, Mapping[str, Any]]:
        if self._client.scheduler is None:
            raise WorkerLost("there is no connection to the scheduler")
        try:
            async with asyncio.timeout(_ANSWER_S):
                identity = await self._client.scheduler.identity(n_workers=-1)
        except OSError as error:
            raise WorkerLost(str(error) or type(error).__name__) from error
        workers: Mapping[str, Mapping[str, Any]] = identity["workers"]
        return workers

    async def _rejoin(self) -> None:
        """Replace a client that has given up on its scheduler by one that tries again; shared by all slots."""
        async with self._rejoining:
            if self._client.status == "running":
                return
            with contextlib.suppress(OSError):
                await self._client.close()
            try:
                self._client = await join(self.address, self._keys)
            except EarwitnessError as error:
                raise WorkerLost(error.happened) from error
