"""Runs in the sandbox: calls while busy loops take both processors, and what the instrument says of each.

`python -m bench.hogs_inside_lab FILE` writes one JSON record a call and direction; `bench_instrument.py` judges them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.call.lab_network import LabNetwork
from earwitness.call.measure import run_call
from earwitness.call.plan import CallPlan
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.sandbox import in_sandbox, rerun_inside
from testing.lab.load.hogs import Hogs

HOGS: dict[str, tuple[str, int]] = {
    "none": ("", 0),
    "nice 19": ("nice", 19),
    "nice 0": ("nice", 0),
    "nice -20": ("nice", -20),
    "real time, below all": ("fifo", 1),
    "real time, below the emulator": ("fifo", 7),
    "real time, below the phones": ("fifo", 15),
    "real time, above all": ("fifo", 50),
}
"""What takes the processors, and how: emulator, phones and forwarders have real-time priorities 10, 20 and 5."""
PATHS: dict[str, dict[str, Any]] = {
    "direct": {},
    "tor": {"relay_nodelay": True, "guard": "relay1", "middle": "relay2", "exit": "relay3"},
}
"""Over the same relays in the same order each time: in another their links are longer, and no hog did that."""


def told(hog: str, stored: StoredCall) -> list[dict[str, Any]]:
    """What matters of a call, a record a direction."""
    record = stored.record
    return [
        {
            "hog": hog,
            "path": row.path,
            "outcome": row.outcome,
            "owd_p50_ms": row.owd_p50_ms,
            "owd_p95_ms": row.owd_p95_ms,
            "owd_p99_ms": row.owd_p99_ms,
            "jitter_mean_ms": row.jitter_mean_ms,
            "gap_max_ms": row.gap_max_ms,
            "instrument_ok": row.instrument_ok,
            "instrument_detail": row.instrument_detail,
            "send_deviation_p99_ms": row.send_deviation_p99_ms,
            **vars(record.instrument),
        }
        for row in record.rows
    ]


async def main(calls: int) -> list[dict[str, Any]]:
    """`calls` over each path under each hog. On these relays packets wait for nothing but links and processors."""
    found: list[dict[str, Any]] = []
    async with Lab.started(LabPlan(authorities=1, relays=3)) as lab:
        network = LabNetwork(lab)
        with tempfile.TemporaryDirectory() as scratch, Dataset.open_or_create(Path(scratch)) as dataset:
            for number in range(calls):
                for hog, (kind, priority) in HOGS.items():
                    for path, options in PATHS.items():
                        plan = CallPlan(path=path, seconds=8.0, seed=number + 1, **options)
                        taken = Hogs(kind, priority, most_s=2.0 if kind == "fifo" else 8.0)
                        try:
                            found += told(hog, await run_call(plan, network, dataset, on_event=taken.heard))
                        finally:
                            taken.end()
    return found


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(main(int(sys.argv[2])))))
