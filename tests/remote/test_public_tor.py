"""Calls over a Tor network that a running tor knows, to another machine: a private one taken for the public one."""

from __future__ import annotations

from typing import Any

import pytest

from .test_two_machines import PACKETS, ran
from .two_machines import CLOCK_OFFSET_MS

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ran("public_tor.py", tmp_path_factory.mktemp("public_tor"))


@pytest.mark.parametrize(("name", "hops"), [("two", 2), ("three", 3)])
def test_a_call_over_a_circuit_of_a_running_tor(report: dict[str, Any], name: str, hops: int) -> None:
    call = report[name]
    assert call["code"] == 0, call["log"]
    for row in call["rows"]:
        assert row["outcome"] == "completed"
        assert (row["network"], row["path"], row["hops"]) == ("public", "tor", hops)
        relays = [relay.partition("@")[0] for relay in row["circuit"].split(" > ")]
        assert len(relays) == hops
        assert set(relays) <= set(report["relays"])
        assert row["packets_received"] == PACKETS
    assert {stream["circuit_id"] for stream in call["path_details"]["streams"].values()} != {"0"}
    assert abs(call["clocks"]["callee"]["offset_ns"] / 1e6 - CLOCK_OFFSET_MS) <= call["clocks"]["callee"]["error_ms"]


def test_calls_are_polite(report: dict[str, Any]) -> None:
    assert "another call is on" in report["beside"]["log"]
    assert "2 calls in the last hour, of 2 allowed" in report["too_many"]["log"]
    assert report["beside"]["code"] == report["too_many"]["code"] == 3
    assert len(report["ledger"]) == 2
    # The other machine was asked for no more than the two calls that were placed.
    assert report["kept"] == sorted([report["two"]["call_id"], report["three"]["call_id"]])
