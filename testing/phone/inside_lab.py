"""Run inside a sandbox: one direct call between two hosts of a lab without tor, as JSON on standard output."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from earwitness.capture.live import CaptureProcess, epoch_offset_ns
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.setup import PhoneSetup


async def main(folder: Path, link: str) -> None:
    offset = epoch_offset_ns()
    async with Lab.started(LabPlan(with_tor=False, links={"caller-callee": link})) as lab:
        hosts = lab.host("caller"), lab.host("callee")
        setups = [PhoneSetup(address=h.address, epoch_offset_ns=offset, seconds=4.0, rtcp_minimum_s=0.3) for h in hosts]
        captures = [
            await CaptureProcess.start(h, h.interface, folder / f"{h.name}.pcap", epoch_offset_ns=offset) for h in hosts
        ]
        async with BuiltinPhone.start(hosts[0], setups[0]) as a, BuiltinPhone.start(hosts[1], setups[1]) as b:
            await b.listen()
            await a.call(b.uri, 10)
            await a.finish(1.0)
            await b.wait_ended(5)
            reports = await a.report(), await b.report()
        summaries = [await capture.stop() for capture in captures]
    print(
        json.dumps(
            {
                "reports": [report.to_dict() for report in reports],
                "dropped": [summary.dropped for summary in summaries],
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
