"""Small records in a data set, and what of one that is being written is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.errors import Outcome


def simple_record(call_id: str, outcome: Outcome = Outcome.COMPLETED, **options: Any) -> CallRecord:
    rows = tuple(
        Row(
            call_id=call_id,
            started_at=f"2026-01-02T03:04:05.{len(call_id):09d}Z",
            direction=direction,
            path="tor",
            hops=3,
            packets_sent=500,
            loss_ratio=0.1 + 0.2,
            instrument_ok=True,
            outcome=str(outcome),
        )
        for direction in ("to_callee", "to_caller")
    )
    return CallRecord(call_id=call_id, started_at=rows[0].started_at, outcome=outcome, rows=rows, **options)


def add(dataset: Dataset, call_id: str) -> None:
    with dataset.new_call(call_id) as folder:
        (folder / "caller.pcap").write_bytes(b"x" * 1000)
        write_record(folder, simple_record(call_id))


def leftovers(root: Path) -> list[str]:
    staging = root / ".staging"
    return sorted(path.name for path in staging.iterdir()) if staging.exists() else []
