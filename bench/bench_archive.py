"""The data set and the report: adding stays proportional to the calls, and a report is quick and small."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.measure import Measurement
from earwitness.archive.dataset import Dataset
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.errors import Outcome
from earwitness.report.html import write_report
from testing.report.synthetic import demo


def bench_adding_calls() -> list[Measurement]:
    """Time to add the last 500 of 3,000 calls against the first 500 (without waiting for the disk)."""
    with tempfile.TemporaryDirectory() as folder, Dataset.open_or_create(folder, durable=False) as dataset:
        times = []
        for block in range(6):
            begin = time.perf_counter()
            for i in range(500):
                _add(dataset, f"call-{block}-{i:03}")
            times.append((time.perf_counter() - begin) / 500 * 1e3)
        begin = time.perf_counter()
        dataset.reindex()
        rebuilt = time.perf_counter() - begin
        begin = time.perf_counter()
        dataset.rows()
        read = time.perf_counter() - begin
    return [
        Measurement("one of the first 500 calls added", times[0], "ms"),
        Measurement("one of the last 500 of 3,000 calls added", times[-1], "ms", 25.0),
        Measurement("index of 3,000 calls made again", rebuilt, "s", 10.0),
        Measurement("rows of 3,000 calls read", read * 1e3, "ms", 500.0),
    ]


def bench_report() -> list[Measurement]:
    """The report of the demonstration's six calls, 9 s of speech each, both directions."""
    with tempfile.TemporaryDirectory() as folder:
        demo(Path(folder) / "data")
        write_report(Path(folder) / "data")  # the city table and the fonts are read once
        begin = time.perf_counter()
        page = write_report(Path(folder) / "data")
        took = time.perf_counter() - begin
        return [
            Measurement("report of six calls written", took, "s", 5.0),
            Measurement("report of six calls, sound included", page.stat().st_size / 1e6, "MB", 3.0),
        ]


def _add(dataset: Dataset, call_id: str) -> None:
    rows = tuple(
        Row(call_id=call_id, started_at="2026-01-01T00:00:00Z", direction=direction, outcome="completed", mos_lqo=4.0)
        for direction in ("to_callee", "to_caller")
    )
    with dataset.new_call(call_id) as folder:
        write_record(
            folder, CallRecord(call_id=call_id, started_at=rows[0].started_at, outcome=Outcome.COMPLETED, rows=rows)
        )
