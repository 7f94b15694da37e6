"""Whether a lab is well, asked of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from earwitness.errors import EarwitnessError
from earwitness.lab.load.background import StandingLoad
from earwitness.lab.load.spec import NO_LOAD

if TYPE_CHECKING:
    from earwitness.lab.lab import Lab


async def health(lab: Lab) -> dict[str, Any]:
    """Hosts, the emulator's statistics, and the Tor network, as plain values.

    Returns:
        `hosts`: name, role, place, country, address, `device_drops`, and for a tor relay or client whether its process
        `runs`, for a client also `circuit` (it has built one, control-spec GETINFO status/circuit-established).
        `emulator`: see `EmulatorClient.statistics`. `load`: what stands with the lab (`earwitness.lab.load.spec`).
        `well`: nothing is wrong. `problems`: what is, in words.
    """
    pids = {} if not lab.plan.with_tor else dict(lab.tor.pids)
    hosts: list[dict[str, Any]] = []
    problems: list[str] = []
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
            problems.append(f"{host.name}: the emulator was too slow to read {row['device_drops']} packets")
        if host.name in pids:
            row["runs"] = _runs(pids[host.name])
            if not row["runs"]:
                problems.append(f"{host.name}: its tor has ended")
        if host.role == "client" and row.get("runs"):
            row["circuit"] = await _has_circuit(lab, host.name)
            if not row["circuit"]:
                problems.append(f"{host.name}: its tor has no circuit")
        hosts.append(row)
    load = StandingLoad.of(lab)
    if load is not None and load.problem is not None:
        problems.append(f"load {load.spec}: {load.problem}")
    return {
        "well": not problems,
        "problems": problems,
        "hosts": hosts,
        "emulator": lab.emulator.statistics(),
        "load": str(load.spec) if load else NO_LOAD,
    }


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
