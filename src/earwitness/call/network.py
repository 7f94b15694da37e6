"""Where a call takes place: two hosts, the paths between them, and what only the lab knows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path as FilePath
from typing import Protocol

from earwitness.call.measurement_point import MeasurementPoint
from earwitness.call.plan import CallPlan
from earwitness.call.self_check import LatenessSummary
from earwitness.errors import CallFailure
from earwitness.lab.load.facts import LoadFacts
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, Path
from earwitness.path.callee_host import CalleeHost
from earwitness.phone.base import Phones


class LabFacts(Protocol):
    """What the lab knows of a call and no real network does, and the faults that it can cause."""

    def lateness(self) -> LatenessSummary | None:
        """How late packets left the emulator since `Network.hosts`; None where none left."""
        ...

    def processes(self, opened: OpenPath) -> Mapping[str, int]:
        """Process ids, by name, of the lab's own processes that carry a path's datagrams."""
        ...

    def load(self) -> LoadFacts:
        """What other traffic the lab carried in the turn of the call."""
        ...

    def write_truth(self, since_ns: int, out: FilePath) -> None:
        """Write what really happened to every packet since then (CLOCK_MONOTONIC) as Parquet."""
        ...

    def lose_relay(self, nickname: str) -> None:
        """Kill a relay, for an injected fault. Raises `EarwitnessError` where it is not the lab's."""
        ...


class Network(Protocol):
    """The lab, or the public network."""

    name: str
    """`lab` or `public`: a column of every row."""

    scratch: FilePath
    """A directory for files of programs that run for one call; short-lived."""

    @property
    def lab_facts(self) -> LabFacts | None:
        """None outside of the lab."""
        ...

    def epoch_offset_ns(self) -> int:
        """What the clock of a call that begins now is ahead of CLOCK_MONOTONIC."""
        ...

    def turn(self, call_id: str, plan: CallPlan) -> AbstractAsyncContextManager[None]:
        """The time of one call: what must be so before its path is opened, and is undone after it.

        Raises `CallFailure` or `InputError` where the call cannot be placed now.
        """
        ...

    def failure(self) -> CallFailure | None:
        """Why no call can go on here any more, whatever its path says; None while one can."""
        ...

    def hosts(self, plan: CallPlan) -> tuple[Host, CalleeHost]:
        """The caller's and the callee's host, in the plan's places."""
        ...

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan asks for, not open yet."""
        ...

    def measurement_points(
        self, opened: OpenPath, kind: Phones, epoch_offset_ns: int
    ) -> Mapping[str, MeasurementPoint]:
        """Both ends of an open path, `caller` and `callee`, where phones of this kind and captures can run.

        `epoch_offset_ns`: what the clock of the call is ahead of this machine's CLOCK_MONOTONIC.
        """
        ...

    def versions(self) -> Mapping[str, str]:
        """Versions of the programs the network runs on."""
        ...
