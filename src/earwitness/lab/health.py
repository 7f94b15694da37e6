"""Checks the health of a lab's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earwitness.errors import EarwitnessError
from earwitness.lab.load.background import StandingLoad
from earwitness.lab.load.spec import NO_LOAD

if TYPE_CHECKING:
    from earwitness.lab.lab import Lab


class Fault(StrEnum):
    """The kinds of problem that a lab can have."""

    DEVICE_DROPS = "device_drops"
    """The emulator was too slow to read a host's packets."""
    TOR_ENDED = "tor_ended"
    NO_CIRCUIT = "no_circuit"
    """A client's tor has built no circuit yet, or lost all of them."""
    LOAD_ENDED = "load_ended"
    """The lab's background traffic does not flow."""


_LAB_IS_LOST = frozenset({Fault.TOR_ENDED, Fault.LOAD_ENDED})
"""Problems that only a new lab solves."""


@dataclass(frozen=True)
class LabProblem:
    """One problem."""

    fault: Fault
    part: str
    """The host or load that has the problem."""
    detail: str

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}"


class LabGone(EarwitnessError):
    """The lab has failed, and no more calls can be placed in it."""

    def __init__(self, problems: Sequence[LabProblem]) -> None:
        self.problems = tuple(problems)
        happened = f"the lab has failed: {'; '.join(map(str, self.problems))}"
        super().__init__("calling in", "the lab", happened, "start another lab")


@dataclass(frozen=True, kw_only=True)
class Health:
    """The status of a lab's parts."""

    hosts: Sequence[Mapping[str, Any]]
    """`name`, `role`, `place`, `country`, `address`, `device_drops`; for a tor relay or client, `runs`: its process is
    alive; for a client, `circuit`: it has built one (control-spec, GETINFO status/circuit-established)."""
    emulator: Mapping[str, Any]
    """See `EmulatorClient.statistics`."""
    load: str
    """The lab's background traffic, as `earwitness.lab.load.spec` writes it."""
    problems: tuple[LabProblem, ...]

    @property
    def well(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def require_usable(self) -> None:
        """Raise `LabGone` if a part has failed for good."""
        if lost := [problem for problem in self.problems if problem.fault in _LAB_IS_LOST]:
            raise LabGone(lost)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the problems in words."""
        return {
            "well": self.well,
            "problems": [str(problem) for problem in self.problems],
            "hosts": [dict(host) for host in self.hosts],
            "emulator": dict(self.emulator),
            "load": self.load,
        }


async def health(lab: Lab) -> Health:
    """Query the status of a lab's hosts, emulator and Tor network.

    Raises `EarwitnessError` if the emulator or a device does not answer.
    """
    pids = {} if not lab.plan.with_tor else dict(lab.tor.pids)
    hosts: list[dict[str, Any]] = []
    problems: list[LabProblem] = []
    for host in lab.hosts.values():
        row: dict[str, Any] = {
            "name": host.name,
            "role": host.role,
            "place": host.place,
            "country": host.location.country,
            "address": host.address,
            "device_drops": host.device_drops(),
        }
        if row["device_drops"]:
            detail = f"the emulator was too slow to read {row['device_drops']} packets"
            problems.append(LabProblem(Fault.DEVICE_DROPS, host.name, detail))
        if host.name in pids:
            row["runs"] = _runs(pids[host.name])
            if not row["runs"]:
                problems.append(LabProblem(Fault.TOR_ENDED, host.name, "its tor has ended"))
        if host.role == "client" and row.get("runs"):
            row["circuit"] = await _has_circuit(lab, host.name)
            if not row["circuit"]:
                problems.append(LabProblem(Fault.NO_CIRCUIT, host.name, "its tor has no circuit"))
        hosts.append(row)
    load = StandingLoad.of(lab)
    if load is not None and load.problem is not None:
        problems.append(LabProblem(Fault.LOAD_ENDED, f"load {load.spec}", load.problem))
    return Health(
        hosts=hosts,
        emulator=lab.emulator.statistics(),
        load=str(load.spec) if load else NO_LOAD,
        problems=tuple(problems),
    )


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def _has_circuit(lab: Lab, host: str) -> bool:
    from earwitness.tor.control import TorControl

    try:
        async with TorControl.connect(lab.tor.client(host).control) as control:
            return await control.info("status/circuit-established") == "1"
    except EarwitnessError:
        return False
