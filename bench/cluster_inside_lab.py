"""Runs in the sandbox: a 12-call study over a cluster in a lab; its vantages are killed in mid-call and started again.

`python -m bench.cluster_inside_lab FOLDER` writes FOLDER/report.json; see `bench_cluster`.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any

from earwitness.archive.dataset import Dataset
from testing.cluster.many_machines import Machines, reporting

STUDY = """
version = 1
name = "twelve"
[[path]]
name = "direct"
path = "direct"
[[path]]
name = "tcp"
path = "tcp"
[[path]]
name = "tor3"
path = "tor"
hops = 3
[axes]
codec = ["g711u", "opus:24000"]
places = [["Frankfurt", "New York"], ["New York", "Frankfurt"]]
[call]
seconds = 10.0
[retry]
backoff_s = 0.1
[budget]
calls_per_hour = 1000
"""


async def study(machines: Machines) -> dict[str, Any]:
    """The study; the vantage that places its first call is killed in it, and later one that answers."""
    file, out = machines.folder / "study.toml", machines.folder / "data"
    file.write_text(STUDY)
    running = {}
    for host in ("caller", "callee"):
        running[host] = machines.vantage(host, host)
        await machines.said(running[host], host, "joined")
    begun = time.monotonic()
    process = machines.study(file, out)
    killed = []
    for part, calls_before in (("places", 0), ("answers", 5)):
        host = await _in_mid_call(machines, process, part, calls_before)
        running[host].kill()
        await machines.ended(running[host])
        killed.append(f"the end that {part} after {time.monotonic() - begun:.0f} s")
        running[host] = machines.vantage(host, f"{host}-again")
    code = await machines.ended(process, 1200)
    wall = time.monotonic() - begun
    outcomes: dict[str, int] = {}
    speech_s = 0.0
    calls = list(Dataset.open(out).calls())
    for call in calls:
        outcomes[str(call.record.outcome)] = outcomes.get(str(call.record.outcome), 0) + 1
        if call.record.outcome == "completed":
            assert call.record.speech.seconds is not None
            speech_s += call.record.speech.seconds
    bad = sum(row.instrument_ok is False for call in calls for row in call.rows)
    return {
        "code": code,
        "outcomes": outcomes,
        "wall_s": wall,
        "speech_s": speech_s,
        "killed": killed,
        "instrument_bad_rows": bad,
        "log": machines.log("study"),
    }


async def _in_mid_call(machines: Machines, process: subprocess.Popen[bytes], part: str, calls_before: int) -> str:
    """The host that places, or answers, a call that has been on the air for 3 s, once so many have ended."""
    while True:
        while machines.log("study").count("/12 ") < calls_before or _who(machines, part) is None:
            assert process.poll() is None, machines.log("study")
            await asyncio.sleep(0.1)
        await asyncio.sleep(3.0)
        if (host := _who(machines, part)) is not None:
            return host


def _who(machines: Machines, part: str) -> str | None:
    """The host that places, or answers, the call that is on the air; None where none is."""
    for host, other in (("caller", "callee"), ("callee", "caller")):
        log = max(machines.folder.glob(f"{host}*.log"), key=lambda path: path.stat().st_mtime)
        if log.read_text().splitlines()[-1:] == ["vantage: talking, 10 s"]:
            return host if part == "places" else other
    return None


if __name__ == "__main__":
    reporting(study)
