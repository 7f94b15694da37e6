"""Where a call takes place: two hosts, the paths between them, and what the instrument says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path as FilePath
from typing import Any, Protocol

from earwitness.call.plan import CallPlan
from earwitness.call.self_check import Lateness
from earwitness.errors import CallFailure
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, Path


class Network(Protocol):
    """The lab, or the public network."""

    name: str
    """`lab` or `public`: a column of every row."""

    scratch: FilePath
    """A directory for files of programs that run for one call; short-lived."""

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

    def hosts(self, plan: CallPlan) -> tuple[Host, Host]:
        """The caller's and the callee's host, in the plan's places."""
        ...

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan asks for, not open yet."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Versions of the programs the network runs on."""
        ...

    def lateness(self) -> Lateness | None:
        """How late packets left the emulator since `hosts`; None without one, or where none left."""
        ...

    def processes(self, opened: OpenPath) -> Mapping[str, int]:
        """Process ids, by name, of what of the network carries a path's datagrams on this machine."""
        ...

    def load(self) -> Mapping[str, Any]:
        """What other traffic the network carried in the turn of the call; empty where that is not ours to know."""
        ...

    def write_truth(self, since_ns: int, out: FilePath) -> None:
        """Write what really happened to every packet since then (CLOCK_MONOTONIC) as Parquet, where that is known."""
        ...

    def lose_relay(self, nickname: str) -> None:
        """Kill a relay, for an injected fault; raises EarwitnessError where that is not ours to do."""
        ...
