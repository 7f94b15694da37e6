"""Background traffic in a lab: starts it on the lab's hosts, monitors and meters it, and ends it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.events import Event, Listener, ignore
from earwitness.lab.load.facts import LoadFacts
from earwitness.lab.load.messages import Carried, LoadConfig
from earwitness.lab.load.spec import LOAD_CLIENT, LOAD_SERVER, LoadSpec
from earwitness.netns.child import Child, ChildGone, JsonChild
from earwitness.netns.host import Host
from earwitness.tor.description import TorNetwork
from earwitness.tor.select import CircuitRequest, choose_relays

PORT = 8080
START_TIMEOUT_S = 45.0
SETTLE_S = 2.0
"""Time from the first bytes to the full load: TCP windows open, and the first pages overlap."""
STANDING = "load.json"
"""The file in the lab's directory that shows other processes what the lab's own load has carried."""
_STOP_TIMEOUT_S = 3.0


class LoadedLab(Protocol):
    """The parts of a lab that a load needs."""

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The lab's hosts by name."""
        ...

    @property
    def tor(self) -> TorNetwork:
        """The lab's private Tor network."""
        ...

    @property
    def state_dir(self) -> Path:
        """The directory in which the lab's processes share files."""
        ...


@dataclass(frozen=True)
class LoadChanged(Event):
    """What a load has carried since it started, and why it stopped (None while it runs)."""

    carried: Carried
    problem: str | None


class Background:
    """A running load; created by `running`."""

    def __init__(self, spec: LoadSpec, seed: int) -> None:
        self.spec = spec
        self.seed = seed
        self.carried = Carried()
        self.problem: str | None = None
        """Why it carries nothing any more, or None while it does."""
        self.on_event: Listener = ignore
        """Called with a `LoadChanged` whenever the load has carried more, or has stopped."""
        self._ready = asyncio.Event()
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def running(cls, lab: LoadedLab, spec: LoadSpec, seed: int) -> AsyncIterator[Background]:
        """Start it, and wait until it flows; on exit it ends, and `carried` has the totals.

        Raises `InputError` if the lab has no hosts for it, `CallFailure` (`LAB_FAILED`) if it does not flow.
        """
        if LOAD_CLIENT not in lab.hosts:
            raise InputError(
                "loading the lab with", spec, "it was started without hosts for that", "run `earwitness lab down` first"
            )
        self = cls(spec, seed)
        relays = [
            [relay.fingerprint for relay in choose_relays(CircuitRequest(seed=_seed(seed, number)), lab.tor.relays)]
            for number in range(spec.clients)
        ]
        client, server = lab.hosts[LOAD_CLIENT], lab.hosts[LOAD_SERVER]
        tor = lab.tor.client(LOAD_CLIENT)
        module = [sys.executable, "-m"]
        async with AsyncExitStack() as stack:
            serving = await JsonChild.start(
                server,
                [*module, "earwitness.lab.load.server", server.address, str(PORT)],
                f"load server on {server.name}",
            )
            stack.push_async_callback(serving.close, 0.5)
            agent = await JsonChild.start(
                client, [*module, "earwitness.lab.load.agent"], f"load's clients on {client.name}"
            )
            stack.push_async_callback(agent.close, _STOP_TIMEOUT_S)
            followers = [asyncio.ensure_future(self._follow(child)) for child in (serving, agent)]
            stack.push_async_callback(self._end, agent, followers)
            config = LoadConfig(str(spec), seed, str(tor.control), list(tor.socks), [server.address, PORT], relays)
            with suppress(ChildGone):  # whoever monitors it notices its end
                agent.send(asdict(config))
            await self._flows()
            yield self

    def failure(self) -> CallFailure | None:
        """Why the load stopped, as the failure of the call that needed it; None while it runs."""
        return None if self.problem is None else _failure("carrying the load", str(self.spec), self.problem)

    async def _flows(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            said = self.carried.last_failure
            why = f"its circuits do not all stand and carry after {START_TIMEOUT_S:g} s" + (f": {said}" if said else "")
            raise _failure("starting the load", str(self.spec), why) from None
        if self.problem is None:
            await asyncio.sleep(SETTLE_S)
        if self.problem is not None:
            raise _failure("starting the load", str(self.spec), self.problem)

    async def _follow(self, child: JsonChild) -> None:
        try:
            while True:
                said = await child.receive()
                event = said.pop("event")
                if event == "statistics":
                    self.carried = Carried(**said)
                elif event == "flows":
                    self._ready.set()
                self.on_event(LoadChanged(self.carried, self.problem))
        except ChildGone as gone:
            if not self._stopping:
                self.problem = self.problem or f"the {child.name} ended: {gone.happened}"
                self._ready.set()
                self.on_event(LoadChanged(self.carried, self.problem))

    async def _end(self, agent: Child, followers: list[asyncio.Task[None]]) -> None:
        """End the agent, and read its last report."""
        self._stopping = True
        agent.close_stdin()
        await asyncio.wait(followers[1:], timeout=_STOP_TIMEOUT_S)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


@asynccontextmanager
async def standing(lab: LoadedLab, spec: LoadSpec, seed: int) -> AsyncIterator[Background]:
    """Like `Background.running`, for the lab's own load; `STANDING` in its directory shows it to other processes."""
    path = lab.state_dir / STANDING

    def write(event: Event) -> None:
        if not isinstance(event, LoadChanged):
            return
        values = {"load": str(spec), "seed": seed, "problem": event.problem, "carried": asdict(event.carried)}
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(values))
        draft.replace(path)

    async with Background.running(lab, spec, seed) as load:
        load.on_event = write
        write(LoadChanged(load.carried, load.problem))
        try:
            yield load
        finally:
            load.on_event = ignore
            path.unlink(missing_ok=True)


class StandingLoad:
    """The lab's own load, seen from another process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        values = json.loads(path.read_text())
        self.spec, self.seed = LoadSpec.parse(values["load"]), int(values["seed"])

    @classmethod
    def of(cls, lab: LoadedLab) -> StandingLoad | None:
        """The lab's own load; None if it has none."""
        try:
            return cls(lab.state_dir / STANDING)
        except FileNotFoundError:
            return None

    @property
    def carried(self) -> Carried:
        """Its latest totals."""
        return Carried(**self._values()["carried"])

    @property
    def problem(self) -> str | None:
        """Why it carries nothing any more, or None while it does."""
        problem = self._values()["problem"]
        return None if problem is None else str(problem)

    def failure(self) -> CallFailure | None:
        """As `Background.failure`."""
        problem = self.problem
        return None if problem is None else _failure("carrying the load", str(self.spec), problem)

    def _values(self) -> dict[str, Any]:
        try:
            values: dict[str, Any] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {"problem": "the lab ends", "carried": {}}
        return values


class LoadMeter:
    """Meters what a load carries during a call, from now on."""

    def __init__(self, load: Background | StandingLoad, relay_mbit: float) -> None:
        self._load = load
        self._relay_mbit = relay_mbit
        self._before = load.carried
        self._begun_ns = time.monotonic_ns()

    def facts(self) -> LoadFacts:
        """The amounts carried until now, for the call's record."""
        before, after = self._before, self._load.carried
        seconds = max(0, after.at_ns - (before.at_ns or self._begun_ns)) / 1e9
        carried, pages = after.bytes - before.bytes, after.pages - before.pages
        return LoadFacts(
            load=str(self._load.spec),
            seed=self._load.seed,
            clients=self._load.spec.clients,
            relay_mbit=self._relay_mbit or None,
            seconds=seconds,
            bytes=carried,
            mbit_s=carried * 8 / seconds / 1e6 if seconds else None,
            pages=pages,
            page_mean_s=(after.page_s - before.page_s) / pages if pages else None,
            downloads=after.downloads - before.downloads,
            failed=after.failed - before.failed,
            last_failure=after.last_failure if after.failed > before.failed else "",
        )


def _seed(seed: int, number: int) -> int:
    """The seed of one client's circuit."""
    return (seed * 1_000_003 + number) % 2**31


def _failure(tried: str, on: str, happened: str) -> CallFailure:
    return CallFailure(
        Outcome.LAB_FAILED, tried, on=on, happened=happened, remedy="try again; if it persists, use fewer clients"
    )
