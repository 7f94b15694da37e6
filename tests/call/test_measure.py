"""What was measured outlives what may go wrong in hearing and scoring it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from earwitness.archive.record import Endpoint
from earwitness.call.builder import CallBuilder
from earwitness.call.measure import evaluated
from earwitness.call.place import place
from earwitness.call.placed_call import EndFacts, PlacedCall
from earwitness.call.plan import CallPlan
from earwitness.call.remote_network import RemoteNetwork
from earwitness.errors import Outcome
from earwitness.remote.certificates import Invitation


def _live() -> PlacedCall:
    ends = {name: EndFacts(endpoint=Endpoint(place="Berlin", host=name, address="10.0.0.1")) for name in ("a", "b")}
    return PlacedCall(
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


class Faulty(RemoteNetwork):
    """Two machines, and a fault of ours on the way to the other."""

    def __init__(self, fault: Exception | None) -> None:
        nobody = Invitation("", "", "", "")
        super().__init__(("127.0.0.1", 9), nobody, Path("/nowhere"))
        self.fault = fault

    @asynccontextmanager
    async def turn(self, call_id: str, plan: CallPlan) -> AsyncIterator[None]:
        if self.fault is not None:
            raise self.fault
        yield


@pytest.mark.parametrize("fault", [KeyError("address"), OSError(24, "Too many open files")])
def test_a_fault_in_placing_is_a_failed_call_with_its_traceback(tmp_path: Path, fault: Exception) -> None:
    network = Faulty(fault)
    notebook = CallBuilder("x", CallPlan(path="tcp"), network.name)
    live = asyncio.run(place(notebook.plan, network, tmp_path, notebook, lambda _stage: None))
    assert live.outcome is Outcome.FAILED
    assert str(fault) in live.outcome_detail
    assert any("in turn" in line for line in live.evidence["traceback"])
