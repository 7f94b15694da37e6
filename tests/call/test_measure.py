"""What was measured outlives what may go wrong in hearing and scoring it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from earwitness.archive.record import Endpoint
from earwitness.call.live import EndFacts, LiveCall
from earwitness.call.measure import evaluated
from earwitness.call.plan import CallPlan
from earwitness.errors import Outcome


def _live() -> LiveCall:
    ends = {name: EndFacts(endpoint=Endpoint(place="Berlin", host=name, address="10.0.0.1")) for name in ("a", "b")}
    return LiveCall(
        call_id="x",
        started_at="",
        plan=CallPlan(),
        codec="g711u",
        outcome=Outcome.COMPLETED,
        caller=ends["a"],
        callee=ends["b"],
    )


def test_a_fault_of_ours_in_scoring_is_a_failed_call_with_its_traceback(tmp_path: Path) -> None:
    record = asyncio.run(evaluated(replace(_live(), codec="no such codec"), tmp_path, None))
    assert record.outcome is Outcome.FAILED
    assert "hearing and scoring x: " in record.outcome_detail
    assert "its captures are kept" in record.outcome_detail
    assert any("evaluate" in line for line in record.evidence["traceback"])
    assert [row.outcome for row in record.rows] == ["failed", "failed"]


def test_a_scoring_process_that_is_killed_costs_no_call(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        worker = executor.submit(os.getpid).result()
        os.kill(worker, signal.SIGKILL)
        record = asyncio.run(evaluated(_live(), tmp_path, executor))
    assert record.outcome is Outcome.CAPTURE_EMPTY  # there were no captures; it was looked for them
    assert any("the scoring process ended" in note for note in record.notes)
