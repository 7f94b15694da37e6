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

from earwitness.archive.facts import CallParty
from earwitness.call.builder import CallBuilder
from earwitness.call.measure import evaluated
from earwitness.call.place import attempt_call
from earwitness.call.placed_call import PlacedCall
from earwitness.call.plan import CallPlan
from earwitness.call.remote_network import RemoteNetwork
from earwitness.errors import Outcome
from earwitness.remote.certificates import Invitation


def _placed() -> PlacedCall:
    builder = CallBuilder("x", CallPlan(), "lab")
    parties = {name: CallParty(place="Berlin", host=name, address="10.0.0.1") for name in ("a", "b")}
    builder.record = replace(builder.record, caller=parties["a"], callee=parties["b"])
    return builder.placed(Outcome.COMPLETED)


def _with_codec(codec: str) -> PlacedCall:
    placed = _placed()
    return replace(placed, record=replace(placed.record, codec=codec))


def test_a_fault_of_ours_in_scoring_is_a_failed_call_with_its_traceback(tmp_path: Path) -> None:
    record = asyncio.run(evaluated(_with_codec("no such codec"), tmp_path, None))
    assert record.outcome is Outcome.FAILED
    assert "hearing and scoring x: " in record.outcome_detail
    assert "its captures are kept" in record.outcome_detail
    assert any("evaluate" in line for line in record.evidence["traceback"])
    assert [row.outcome for row in record.rows] == ["failed", "failed"]


def test_a_scoring_process_that_is_killed_costs_no_call(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        worker = executor.submit(os.getpid).result()
        os.kill(worker, signal.SIGKILL)
        record = asyncio.run(evaluated(_placed(), tmp_path, executor))
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
    builder = CallBuilder("x", CallPlan(path="tcp"), network.name)
    placed = asyncio.run(attempt_call(builder.plan, network, tmp_path, builder, lambda _stage: None))
    assert placed.record.outcome is Outcome.FAILED
    assert str(fault) in placed.record.outcome_detail
    assert any("in turn" in line for line in placed.record.evidence["traceback"])
