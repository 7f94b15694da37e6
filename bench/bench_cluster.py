"""A study over many machines, which here are hosts of a lab: what killed vantages cost it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.measure import Measurement
from testing.commands import report_of


def bench_twelve_calls() -> list[Measurement]:
    """12 calls of 10 s between two vantages, TLS on; each vantage is killed once in mid-call and started again."""
    with tempfile.TemporaryDirectory() as folder:
        report = report_of("bench.cluster_inside_lab", Path(folder), within_s=1800)
    outcomes = report["outcomes"]
    lost = sum(count for outcome, count in outcomes.items() if outcome != "completed")
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    each = (report["wall_s"] - report["speech_s"]) / sum(outcomes.values())
    return [
        Measurement("exit code of the study", report["code"], "", bar=0),
        Measurement("calls completed of 12", outcomes.get("completed", 0), "", bar=12, at_most=False, note=told),
        Measurement("attempts that two killed vantages cost", lost, "", bar=2, note=", ".join(report["killed"])),
        Measurement("wall time", report["wall_s"], "s", note=f"{report['speech_s']:.0f} s of speech"),
        Measurement("besides speech, an attempt", each, "s", note="waiting for vantages that start again included"),
        Measurement("rows whose instrument was not good enough", report["instrument_bad_rows"], ""),
    ]


__all__ = ["bench_twelve_calls"]
