"""The network of a call: two hosts, the paths between them, and what only the lab knows."""

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
    """What only the lab knows about a call, and the faults that it can inject."""

    def lateness(self) -> LatenessSummary | None:
        """How late packets left the emulator since `Network.hosts`; None if no packet left."""
        ...

    def processes(self, opened: OpenPath) -> Mapping[str, int]:
        """Process ids, by name, of the lab's own processes that carry a path's datagrams."""
        ...

    def load(self) -> LoadFacts:
        """Background traffic that the lab carried during the turn of the call."""
        ...

    def write_truth(self, since_ns: int, out: FilePath) -> None:
        """Write the fate of every packet since then (CLOCK_MONOTONIC) as Parquet."""
        ...

    def lose_relay(self, nickname: str) -> None:
        """Kill a relay, as an injected fault. Raises `EarwitnessError` if the lab has no such relay."""
        ...


class Network(Protocol):
    """The lab, or the public network."""

    name: str
    """`lab` or `public`: a column of every row."""

    scratch: FilePath
    """A directory for temporary files of programs that run for one call."""

    @property
    def lab_facts(self) -> LabFacts | None:
        """None outside the lab."""
        ...

    def epoch_offset_ns(self) -> int:
        """The clock of a call that begins now, minus CLOCK_MONOTONIC."""
        ...

    def turn(self, call_id: str, plan: CallPlan) -> AbstractAsyncContextManager[None]:
        """The turn of one call: prepares the network before its path is opened, and restores it afterwards.

        Raises `CallFailure` or `InputError` if the call cannot be placed now.
        """
        ...

    def failure(self) -> CallFailure | None:
        """Why no call can continue here, whatever the state of its path; None while one can."""
        ...

    def hosts(self, plan: CallPlan) -> tuple[Host, CalleeHost]:
        """The caller's and the callee's host, in the plan's cities."""
        ...

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan requests, not yet open."""
        ...

    def measurement_points(
        self, opened: OpenPath, kind: Phones, epoch_offset_ns: int
    ) -> Mapping[str, MeasurementPoint]:
        """Both ends of an open path, `caller` and `callee`, which can run captures and phones of this kind.

        `epoch_offset_ns`: the call's clock minus this machine's CLOCK_MONOTONIC.
        """
        ...

    def versions(self) -> Mapping[str, str]:
        """Versions of the programs that the network uses."""
        ...
