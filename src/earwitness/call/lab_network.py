"""The lab as the place of a call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path as FilePath

from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError, InputError
from earwitness.lab.host import Host
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.lab.wan import LinkProfile
from earwitness.path.base import Path
from earwitness.path.direct import DirectPath
from earwitness.path.onion import OnionPath
from earwitness.path.tcp import TcpPath
from earwitness.path.tor import TorPath
from earwitness.tor.select import CircuitRequest


class LabNetwork:
    """Calls between the lab's caller and callee; one at a time."""

    name = "lab"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.scratch = lab.state_dir / "calls"
        self._links = dict(lab.plan.links)

    def hosts(self, plan: CallPlan) -> tuple[Host, Host]:
        """The two hosts in the plan's places, its impairments on the caller's links, all seeded afresh."""
        self.lab.arrange(
            caller_place=plan.from_place,
            callee_place=plan.to_place,
            links={**self._links, "caller": plan.link} if plan.link else self._links,
            seed=plan.seed,
        )
        return self.lab.host("caller"), self.lab.host("callee")

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan asks for."""
        if plan.path == "direct":
            return DirectPath()
        if plan.path == "tcp":
            return TcpPath()
        if plan.path == "onion":
            return OnionPath(self.lab.tor)
        exit_wanted = plan.exit
        if plan.inject and plan.inject.what == "exit-refuses":
            if not self.lab.plan.refusing_exits:
                raise InputError(
                    "injecting", "exit-refuses", "no exit of this lab refuses", "run `earwitness lab down` first"
                )
            exit_wanted = self.lab.plan.refusing_exits[0]
        request = CircuitRequest(plan.hops, plan.guard, plan.middle, exit_wanted, plan.seed)
        return TorPath(request, self.lab.tor, nodelay=plan.relay_nodelay)

    def versions(self) -> Mapping[str, str]:
        """Of tor, where it is to be had (a lab that is up needs none of the command's own)."""
        return {"tor": _tor_version()} if shutil.which("tor") else {}

    def emulator_late_p99_ms(self) -> float | None:
        """How late packets left the emulator, 99th percentile since this was last asked, ms."""
        lateness = self.lab.emulator.statistics(reset=True)["lateness"]
        return float(lateness["p99_ms"]) if lateness["packets"] else None

    def write_truth(self, since_ns: int, out: FilePath) -> None:
        """The emulator's log since then: every packet between any two hosts of the lab."""
        self.lab.truth(since_ns=since_ns).to_parquet(out, index=False, compression="zstd")

    def lose_relay(self, nickname: str) -> None:
        """Kill the tor of a relay of the private network."""
        pid = self.lab.tor.pids.get(nickname)
        if pid is None:
            raise EarwitnessError("killing relay", nickname, "it is not one of this lab's", "choose one that is")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def lab_plan_for(plans: Sequence[CallPlan]) -> LabPlan:
    """The lab that these calls need: with Tor where one goes over it, a refusing exit where one asks for that.

    Raises `InputError` for a city or a link setting that does not exist.
    """
    first = plans[0]
    refuses = any(plan.inject is not None and plan.inject.what == "exit-refuses" for plan in plans)
    lab_plan = LabPlan(
        caller_place=first.from_place,
        callee_place=first.to_place,
        with_tor=any(plan.over_tor for plan in plans),
        seed=first.seed,
    )
    exits = [host.name for host in lab_plan.hosts() if host.role == "exit"]
    for plan in plans:
        LinkProfile().with_spec(plan.link)
    return replace(lab_plan, refusing_exits=tuple(exits[-1:])) if refuses else lab_plan


@cache
def _tor_version() -> str:
    done = subprocess.run(["tor", "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.partition("\n")[0].removeprefix("Tor version ").rstrip(". ")
