"""Background traffic in a real private network, and busy loops on every processor: one boot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earwitness.archive.dataset import Dataset
from testing.commands import report_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load")


@pytest.fixture(scope="module")
def report(permitted: None, folder: Path) -> dict[str, Any]:
    return report_of("testing.lab.load.inside_lab", folder, within_s=220)


def test_a_call_brings_its_load_and_its_record_says_what_that_carried(report: dict[str, Any]) -> None:
    call = report["own"]
    load = call["load"]
    assert call["outcome"] == "completed"
    assert (load["load"], load["clients"], load["relay_mbit"]) == ("web:2,pause=1+bulk:1,rate=0.5", 3, 2.0)
    assert load["seed"] == call["seed"] == 5
    assert load["bytes"] > 200_000
    assert load["mbit_s"] == pytest.approx(load["bytes"] * 8e-6 / load["seconds"])
    assert [(row["load"], row["load_mbit_s"]) for row in call["rows"]] == [(load["load"], load["mbit_s"])] * 2
    # Three relays each receive what the clients got, in cells.
    assert report["relays_carried"] > 3 * load["bytes"]


def test_calls_beside_a_standing_load_tell_of_it(report: dict[str, Any]) -> None:
    load = report["standing"]["load"]
    assert load["load"] == report["well"]["load"] == "bulk:1,rate=0.5"
    assert 0.25 < load["mbit_s"] < 0.75
    assert report["well"]["problems"] == []


def test_a_load_that_dies_is_told_of_and_ends_the_call(report: dict[str, Any]) -> None:
    assert ["load bulk:1,rate=0.5: " in problem for problem in report["not_well"]["problems"]] == [True]
    call = report["without"]
    assert call["outcome"] == "lab_failed"
    assert "carrying the load" in call["outcome_detail"]
    assert "\n" not in call["outcome_detail"]
    assert (report["after"]["load"], report["after"]["problems"]) == ("none", [])


def test_calls_can_be_compared_by_their_load(report: dict[str, Any], folder: Path) -> None:
    rows = Dataset.open(folder / "data").rows()
    assert set(rows["load"]) == {"web:2,pause=1+bulk:1,rate=0.5", "none", "bulk:1,rate=0.5"}


def test_a_call_that_busy_loops_harmed_is_marked_with_the_reason(report: dict[str, Any]) -> None:
    """Loops at nice -20 keep tor from the processors; emulator and phones, at real-time priority, hardly notice."""
    call = report["hogged"]
    if call["outcome"] != "completed":  # so starved that it could not be placed: told, not reported as a result
        return
    quiet = report["standing"]["instrument"]
    assert quiet["cpu_wait_worst_ms"] is None, "a direct call passes no process of ours"
    assert set(call["instrument"]["processes"]) >= {"forwarder on caller", "forwarder on callee", "caller"}
    for row in call["rows"]:
        assert row["instrument_ok"] is False
        assert row["instrument_detail"]
