"""Runs in the sandbox: one small Tor network, calls with a load and under busy loops, one JSON report.

`python -m testing.lab.load.inside_lab FOLDER` writes FOLDER/report.json; `test_in_the_lab.py` says what should have.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.call.lab_network import LabNetwork
from earwitness.call.measure import run_call
from earwitness.call.plan import CallPlan
from earwitness.lab.health import health
from earwitness.lab.lab import Lab
from earwitness.lab.load.background import standing
from earwitness.lab.load.spec import LoadSpec
from earwitness.lab.plan import LabPlan
from earwitness.netns.sandbox import in_sandbox, rerun_inside
from testing.lab.load.hogs import Hogs

SECONDS = 4.0


def told(stored: StoredCall) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(stored.record.to_json())
    return record


async def main(data: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    plan = LabPlan(authorities=1, relays=3, with_load=True, relay_mbit=2.0)
    async with Lab.started(plan) as lab:
        network = LabNetwork(lab)
        with Dataset.open_or_create(data) as dataset:

            async def call(**options: Any) -> dict[str, Any]:
                return told(await run_call(CallPlan(seconds=SECONDS, **options), network, dataset))

            report["own"] = await call(load="web:2,pause=1+bulk:1,rate=0.5", seed=5)
            report["relays_carried"] = relay_bytes(lab)
            hogs = Hogs("nice", -20)
            try:
                hogged = CallPlan(seconds=SECONDS, load="none", relay_nodelay=True)
                report["hogged"] = told(await run_call(hogged, network, dataset, on_event=hogs.heard))
            finally:
                hogs.end()
            async with standing(lab, LoadSpec.parse("bulk:1,rate=0.5"), 1):
                report["standing"] = await call(path="direct")
                report["well"] = (await health(lab)).to_dict()
                os.kill(load_agent(), 9)
                while (await health(lab)).well:
                    await asyncio.sleep(0.05)
                report["not_well"] = (await health(lab)).to_dict()
                report["without"] = await call(path="direct")
            report["after"] = (await health(lab)).to_dict()
    return report


def relay_bytes(lab: Lab) -> int:
    """IP bytes that relays received until now."""
    truth = lab.truth()
    return int(truth[truth["destination"].str.startswith("relay")]["length"].sum())


def load_agent() -> int:
    """Process id of the load's clients."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and b"earwitness.lab.load.agent" in (entry / "cmdline").read_bytes():
            return int(entry.name)
    raise AssertionError("no load runs")


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    folder = Path(sys.argv[1])
    (folder / "report.json").write_text(json.dumps(asyncio.run(main(folder / "data"))))
