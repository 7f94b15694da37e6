"""The lab as the network of a call."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache

from earwitness.call.lab_observer import LabObserver, LatenessWatch
from earwitness.call.measurement_point import LocalMeasurementPoint, MeasurementPoint
from earwitness.call.paths import path_of
from earwitness.call.plan import CallPlan
from earwitness.capture.live import epoch_offset_ns
from earwitness.errors import CallFailure, InputError
from earwitness.lab.lab import Lab
from earwitness.lab.load.background import Background, StandingLoad
from earwitness.lab.load.spec import LoadSpec
from earwitness.lab.plan import pair_names
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, Path
from earwitness.path.circuit_cache import CircuitCache
from earwitness.path.local_callee import LocalCallee
from earwitness.phone.base import Phones

KEPT_CIRCUITS = "kept-circuits.json"
"""In the lab's directory, so that the next command finds the circuits and they are removed with the lab."""


class LabNetwork:
    """Calls between one caller and callee of the lab: one at a time per pair, in parallel with other pairs."""

    name = "lab"

    def __init__(self, lab: Lab, pair: int = 1, lateness: LatenessWatch | None = None) -> None:
        self.lab = lab
        self.pair = pair
        self.scratch = lab.state_dir / ("calls" if pair == 1 else f"calls{pair}")
        self.lab_facts = LabObserver(lab, pair, lateness or LatenessWatch(lab))
        self._links = dict(lab.plan.links)
        self._load: Background | StandingLoad | None = None

    def epoch_offset_ns(self) -> int:
        """Read anew for each call."""
        return epoch_offset_ns()

    @asynccontextmanager
    async def turn(self, call_id: str, plan: CallPlan) -> AsyncIterator[None]:
        """No waiting: the command owns the lab. The call's load runs until the end of its turn."""
        async with AsyncExitStack() as stack:
            self._load = StandingLoad.of(self.lab)
            asked = plan.load_spec or (self._load.spec if self._load else LoadSpec())
            self.lab_facts.begin_load(asked, None)  # in case it does not start
            if plan.load_spec:
                running = Background.running(self.lab, plan.load_spec, plan.seed)
                self._load = await stack.enter_async_context(running)
            self.lab_facts.begin_load(asked, self._load)
            yield

    def failure(self) -> CallFailure | None:
        """Why the load ended, if it did; the path notices all other failures in the lab."""
        return None if self._load is None else self._load.failure()

    def hosts(self, plan: CallPlan) -> tuple[Host, LocalCallee]:
        """The two hosts in the plan's cities, with its impairments on the caller's links and new seeds."""
        self.lab_facts.begin_lateness()
        caller, callee = pair_names(self.pair)
        if self.lab.plan.pairs > 1:
            self.lab.arrange_pair(
                self.pair, caller_place=plan.from_place, callee_place=plan.to_place, link=plan.link, seed=plan.seed
            )
            return self.lab.host(caller), LocalCallee(self.lab.host(callee))
        self.lab.arrange(
            caller_place=plan.from_place,
            callee_place=plan.to_place,
            links={**self._links, "caller": plan.link} if plan.link else self._links,
            seed=plan.seed,
        )
        return self.lab.host(caller), LocalCallee(self.lab.host(callee))

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan requests."""
        if plan.inject and plan.inject.what == "exit-refuses":
            if not self.lab.plan.refusing_exits:
                raise InputError(
                    "injecting", "exit-refuses", "no exit of this lab refuses", "run `earwitness lab down` first"
                )
            plan = replace(plan, exit=self.lab.plan.refusing_exits[0])
        tor = self.lab.tor if plan.over_tor else None
        return path_of(plan, tor, self.scratch, kept=CircuitCache(self.lab.state_dir / KEPT_CIRCUITS))

    def measurement_points(
        self, opened: OpenPath, kind: Phones, epoch_offset_ns: int
    ) -> Mapping[str, MeasurementPoint]:
        """Both ends, in this lab."""
        return {
            "caller": LocalMeasurementPoint(opened.caller, kind, epoch_offset_ns),
            "callee": LocalMeasurementPoint(opened.callee, kind, epoch_offset_ns),
        }

    def versions(self) -> Mapping[str, str]:
        """Version of tor, if it is installed (a lab that is already up does not need it here)."""
        return {"tor": _tor_version()} if shutil.which("tor") else {}


def lab_networks(lab: Lab) -> list[LabNetwork]:
    """One network per pair of the lab; they can be used in parallel."""
    lateness = LatenessWatch(lab)
    return [LabNetwork(lab, pair, lateness) for pair in range(1, lab.plan.pairs + 1)]


@cache
def _tor_version() -> str:
    done = subprocess.run(["tor", "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.partition("\n")[0].removeprefix("Tor version ").rstrip(". ")
