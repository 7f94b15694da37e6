"""The lab as the place of a call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from earwitness.call.paths import path_of
from earwitness.call.plan import CallPlan
from earwitness.call.self_check import Lateness
from earwitness.capture.live import epoch_offset_ns
from earwitness.errors import CallFailure, EarwitnessError, InputError
from earwitness.lab.lab import Lab
from earwitness.lab.load.background import Background, LoadMeter, StandingLoad
from earwitness.lab.load.spec import LOAD_CLIENT, LOAD_SERVER, LoadSpec
from earwitness.lab.plan import pair_names
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, Path
from earwitness.path.circuit_cache import KeptCircuits
from earwitness.path.onion import OnionPath

KEPT_CIRCUITS = "kept-circuits.json"
"""In the lab's own directory, so that the next command finds them and they go with the lab."""


class LatenessWatch:
    """How late the emulator was during each of several calls at once; its own statistics are of one period only."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._worst: dict[object, Lateness | None] = {}

    def begin(self, call: object) -> None:
        """A call begins now."""
        self._read()
        self._worst[call] = None

    def end(self, call: object) -> Lateness | None:
        """Since the call began; None if no packet went, or it had not begun.

        Where other calls began or ended meanwhile, the worst of the periods between.
        """
        self._read()
        return self._worst.pop(call, None)

    def _read(self) -> None:
        lateness = self._lab.emulator.statistics(reset=True)["lateness"]
        if lateness["packets"]:
            for call, worst in self._worst.items():
                so_far = worst or Lateness(0.0, 0.0)
                self._worst[call] = Lateness(
                    max(so_far.p99_ms, float(lateness["p99_ms"])), max(so_far.max_ms, float(lateness["max_ms"]))
                )


class LabNetwork:
    """Calls between a caller and a callee of the lab; one at a time, at the same time as other pairs'."""

    name = "lab"

    def __init__(self, lab: Lab, pair: int = 1, lateness: LatenessWatch | None = None) -> None:
        self.lab = lab
        self.pair = pair
        self.scratch = lab.state_dir / ("calls" if pair == 1 else f"calls{pair}")
        self._lateness = lateness or LatenessWatch(lab)
        self._links = dict(lab.plan.links)
        self._load: Background | StandingLoad | None = None
        self._meter: LoadMeter | None = None
        self._asked = LoadSpec()

    def epoch_offset_ns(self) -> int:
        """Read for each call."""
        return epoch_offset_ns()

    @asynccontextmanager
    async def turn(self, call_id: str, plan: CallPlan) -> AsyncIterator[None]:
        """A command has the lab to itself; the load that the call brings flows from here to the end of its turn."""
        async with AsyncExitStack() as stack:
            self._load, self._meter = StandingLoad.of(self.lab), None
            self._asked = plan.load_spec or (self._load.spec if self._load else LoadSpec())
            if plan.load_spec:
                running = Background.running(self.lab, plan.load_spec, plan.seed)
                self._load = await stack.enter_async_context(running)
            if self._load is not None:
                self._meter = LoadMeter(self._load, self.lab.plan.relay_mbit or 0.0)
            yield

    def failure(self) -> CallFailure | None:
        """The end of the load; what else may die in the lab is seen by the path."""
        return None if self._load is None else self._load.failure()

    def load(self) -> Mapping[str, Any]:
        """What the lab's relays carried besides, in the turn of the call."""
        return {"load": str(self._asked)} if self._meter is None else self._meter.summary()

    def hosts(self, plan: CallPlan) -> tuple[Host, Host]:
        """The two hosts in the plan's places, its impairments on the caller's links, all seeded afresh."""
        self._lateness.begin(self)
        caller, callee = pair_names(self.pair)
        if self.lab.plan.pairs > 1:
            self.lab.arrange_pair(
                self.pair, caller_place=plan.from_place, callee_place=plan.to_place, link=plan.link, seed=plan.seed
            )
            return self.lab.host(caller), self.lab.host(callee)
        self.lab.arrange(
            caller_place=plan.from_place,
            callee_place=plan.to_place,
            links={**self._links, "caller": plan.link} if plan.link else self._links,
            seed=plan.seed,
        )
        return self.lab.host(caller), self.lab.host(callee)

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan asks for."""
        if plan.inject and plan.inject.what == "exit-refuses":
            if not self.lab.plan.refusing_exits:
                raise InputError(
                    "injecting", "exit-refuses", "no exit of this lab refuses", "run `earwitness lab down` first"
                )
            plan = replace(plan, exit=self.lab.plan.refusing_exits[0])
        tor = self.lab.tor if plan.over_tor else None
        return path_of(plan, tor, self.scratch, kept=KeptCircuits(self.lab.state_dir / KEPT_CIRCUITS))

    def versions(self) -> Mapping[str, str]:
        """Of tor, where it is to be had (a lab that is up needs none of the command's own)."""
        return {"tor": _tor_version()} if shutil.which("tor") else {}

    def lateness(self) -> Lateness | None:
        """How late packets left the emulator since `hosts`."""
        return self._lateness.end(self)

    def processes(self, opened: OpenPath) -> Mapping[str, int]:
        """The tors that its cells pass: the caller's, the relays', and where it is an onion service the callee's."""
        if not opened.hops:
            return {}
        ends = [opened.caller, opened.callee] if opened.name == OnionPath.name else [opened.caller]
        names = [*(end.host.name for end in ends), *(hop.nickname for hop in opened.hops)]
        return {name: self.lab.tor.pids[name] for name in names if name in self.lab.tor.pids}

    def write_truth(self, since_ns: int, out: FilePath) -> None:
        """The emulator's log since then: every packet between any two hosts of the lab but those of other pairs."""
        truth = self.lab.truth(since_ns=since_ns)
        # The load's own ends are no part of the call; what it does between relays is.
        others = [name for name in (LOAD_CLIENT, LOAD_SERVER) if name in self.lab.hosts]
        others += [name for pair in range(1, self.lab.plan.pairs + 1) if pair != self.pair for name in pair_names(pair)]
        if others:
            truth = truth[~truth["source"].isin(others) & ~truth["destination"].isin(others)]
        truth.to_parquet(out, index=False, compression="zstd")

    def lose_relay(self, nickname: str) -> None:
        """Kill the tor of a relay of the private network."""
        pid = self.lab.tor.pids.get(nickname)
        if pid is None:
            raise EarwitnessError("killing relay", nickname, "it is not one of this lab's", "choose one that is")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def lab_networks(lab: Lab) -> list[LabNetwork]:
    """A network for each pair of the lab's, that can be used at the same time."""
    lateness = LatenessWatch(lab)
    return [LabNetwork(lab, pair, lateness) for pair in range(1, lab.plan.pairs + 1)]


@cache
def _tor_version() -> str:
    done = subprocess.run(["tor", "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.partition("\n")[0].removeprefix("Tor version ").rstrip(". ")
