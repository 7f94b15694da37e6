"""Run inside a sandbox: a call between two hosts of a lab with its whole Tor network; deviations as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from earwitness.capture.live import CaptureProcess, epoch_offset_ns
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.setup import PhoneSetup

SECONDS = 30.0


async def main(folder: Path) -> None:
    offset = epoch_offset_ns()
    plan = LabPlan(relays=9, caller_place="Frankfurt", callee_place="New York")
    async with Lab.started(plan) as lab:
        hosts = lab.host("caller"), lab.host("callee")
        setups = [PhoneSetup(address=h.address, epoch_offset_ns=offset, seconds=SECONDS) for h in hosts]
        captures = [
            await CaptureProcess.start(h, h.interface, folder / f"{h.name}.pcap", epoch_offset_ns=offset) for h in hosts
        ]
        started = time.monotonic()
        async with BuiltinPhone.start(hosts[0], setups[0]) as a, BuiltinPhone.start(hosts[1], setups[1]) as b:
            ready_s = time.monotonic() - started
            await b.listen()
            await a.call(b.uri, 20)
            await a.finish(1.0)
            await b.wait_ended(5)
            reports = await a.report(), await b.report()
        dropped = [(await capture.stop()).dropped for capture in captures]
    print(json.dumps({"reports": [one.to_dict() for one in reports], "dropped": dropped, "ready_s": ready_s}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
