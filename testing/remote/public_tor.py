"""Runs in the sandbox, as a process of its own: a private Tor network taken for the public one, two machines.

`python -m testing.remote.public_tor FOLDER` writes FOLDER/report.json; `test_public_tor.py` says what should be in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.sandbox import in_sandbox, rerun_inside
from testing.remote.remote_paths import scenes
from testing.remote.two_machines import Calling, answering


async def polite_calls(lab: Lab, folder: Path) -> dict[str, Any]:
    """Two calls of a user over the tor that runs at the caller, and two that are refused."""
    report: dict[str, Any] = {}
    async with answering(lab, folder, "public", "--media-port", "8443") as (_, invitation, store):
        control = str(lab.tor.client("caller").control)
        over_tor = ("--network", "public", "--path", "tor", "--tor-control", control, "--calls-an-hour", "2")

        def calling(name: str, *options: str) -> Calling:
            return Calling(lab, folder, name, invitation, options=(*over_tor, *options), state="state")

        two = calling("two", "--hops", "2")
        await two.talking(1.0)
        # One call at a time: this one, of another command of the same user, is not let in.
        beside = await calling("beside").result()
        report["two"], report["beside"] = await two.result(), beside
        report["three"] = await calling("three").result()
        report["too_many"] = await calling("too_many").result()
        report["ledger"] = json.loads((folder / "state" / "earwitness" / "public-calls.json").read_text())
        report["kept"] = sorted(path.name for path in store.iterdir())
        report["relays"] = [relay.nickname for relay in (*lab.tor.relays, *lab.tor.authorities)]
    return report


async def main() -> None:
    folder = Path(sys.argv[1])
    async with Lab.started(LabPlan(seed=4)) as lab:
        polite, others = await asyncio.gather(polite_calls(lab, folder), scenes(lab, folder))
    (folder / "report.json").write_text(json.dumps({**polite, **others}))


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    os.environ["COLUMNS"] = "200"
    asyncio.run(main())
