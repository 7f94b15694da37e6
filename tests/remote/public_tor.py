"""Runs in the sandbox, as a process of its own: a private Tor network taken for the public one, two machines.

`python tests/remote/public_tor.py FOLDER` writes FOLDER/report.json; `test_public_tor.py` says what should be in it.
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
from earwitness.lab.sandbox import in_sandbox, rerun_inside

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.remote.two_machines import Calling, answering


async def main() -> None:
    folder = Path(sys.argv[1])
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    report: dict[str, Any] = {}
    async with Lab.started(LabPlan(seed=4)) as lab, answering(lab, folder, "public", "--media-port", "8443") as running:
        _, invitation, store = running
        control = str(lab.tor.client("caller").control)
        over_tor = ("--network", "public", "--path", "tor", "--tor-control", control, "--calls-an-hour", "2")
        two = Calling(lab, folder, "two", invitation, options=(*over_tor, "--hops", "2"))
        await two.talking(1.0)
        # One call at a time: this one, of another command of the same user, is not let in.
        beside = await Calling(lab, folder, "beside", invitation, options=over_tor).result()
        report["two"], report["beside"] = await two.result(), beside
        report["three"] = await Calling(lab, folder, "three", invitation, options=over_tor).result()
        report["too_many"] = await Calling(lab, folder, "too_many", invitation, options=over_tor).result()
        report["ledger"] = json.loads((folder / "state" / "earwitness" / "public-calls.json").read_text())
        report["kept"] = sorted(path.name for path in store.iterdir())
        report["relays"] = [relay.nickname for relay in lab.tor.relays]
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    os.environ["COLUMNS"] = "200"
    asyncio.run(main())
