"""Two machines, as two hosts of a lab whose truth is known, and faults between them."""

from __future__ import annotations

from typing import Any

import pytest

from testing.commands import report_of
from testing.remote.two_machines import CLOCK_OFFSET_MS, PACKETS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def report(permitted: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report_of("testing.remote.two_machines", tmp_path_factory.mktemp("two_machines"))


def test_a_call_between_two_machines_is_whole(report: dict[str, Any]) -> None:
    whole = report["whole"]
    assert whole["code"] == 0, whole["log"]
    assert len(whole["rows"]) == 2
    for row in whole["rows"]:
        assert row["outcome"] == "completed"
        assert (row["network"], row["from_place"], row["to_place"]) == ("public", "Frankfurt", "New York City")
        assert row["packets_sent"] == row["packets_received"] == PACKETS
        assert row["mos_lqo"] > 4.2
        assert row["rtt_min_ms"] > 100.0
        assert row["throughput_kbit_s"] > 1000.0
    assert {"caller.pcap", "callee.pcap", "to_callee.wav", "to_caller.wav"} <= set(whole["files"])
    # What the other machine measured is kept there too, under the call's id.
    assert set(whole["kept"]) == {whole["call_id"]}
    assert {"callee.pcap", "events.jsonl"} <= set(whole["kept"][whole["call_id"]])


def test_the_clocks_are_found_within_the_bound_that_is_published(report: dict[str, Any]) -> None:
    whole = report["whole"]
    clock = whole["clocks"]["callee"]
    off_ms = abs(clock["offset_ns"] / 1e6 - CLOCK_OFFSET_MS)
    assert off_ms <= clock["symmetric_error_ms"]  # the lab's links are symmetric
    assert clock["symmetric_error_ms"] < 5.0
    for row in whole["rows"]:
        truth_ms = whole["truth"][row["direction"]]
        assert abs(row["owd_p50_ms"] - truth_ms) <= min(row["owd_error_ms"], clock["symmetric_error_ms"] + 1.0)
        # What no two captures can tell is in the bound: half of the round trip.
        assert row["owd_error_ms"] == pytest.approx(truth_ms, abs=5.0)
    marks = whole["milestones"]
    order = ["invite_sent", "invite_received", "answered", "first_media_to_callee", "callee_speech_ended", "bye"]
    assert sorted(order, key=lambda name: marks[name]) == order
    assert (marks["invite_received"] - marks["invite_sent"]) / 1e6 == pytest.approx(truth_ms, abs=10.0)


def test_no_secret_is_seen_and_none_is_left(report: dict[str, Any]) -> None:
    whole = report["whole"]
    assert whole["invitation_mode"] == "0o600"
    assert not whole["invitation_left"]
    assert not whole["key_in_process_list"]
    assert not whole["key_left"]
    assert whole["answer_code"] == 0


def test_a_control_channel_that_is_cut_and_comes_back_loses_nothing(report: dict[str, Any]) -> None:
    cut = report["cut"]
    assert cut["cuts"] == 2
    assert cut["code"] == 0, cut["log"]
    assert {row["outcome"] for row in cut["rows"]} == {"completed"}
    assert {row["packets_received"] for row in cut["rows"]} == {PACKETS}
    assert "callee.pcap" in cut["files"]


def test_an_answer_killed_in_mid_call_is_a_typed_outcome_and_leaves_what_was_measured(report: dict[str, Any]) -> None:
    killed = report["killed"]
    assert killed["code"] == 3
    assert {row["outcome"] for row in killed["rows"]} == {"remote_lost"}
    heard = next(row for row in killed["rows"] if row["direction"] == "to_caller")
    # About two seconds had come through to this side; delays cannot be told without the other's capture.
    assert 50 < heard["packets_received"] < PACKETS
    assert heard["owd_p50_ms"] is None
    assert heard["jitter_mean_ms"] is not None
    assert killed["kept"]["callee.pcap"] > 10_000
    assert killed["left"] == []


def test_a_caller_that_dies_leaves_what_the_callee_measured_to_be_fetched(report: dict[str, Any]) -> None:
    alone = report["caller_killed"]
    assert alone["code"] == 0
    assert alone["fetched"] == alone["kept"]
    # Two seconds of media both ways, until the caller's phone died with its machine.
    assert alone["summary"]["packets"] > 100
    assert alone["report"]["packets_received"] > 50


def test_a_caller_with_another_certificate_is_a_typed_outcome(report: dict[str, Any]) -> None:
    strange = report["strange_caller"]
    assert strange["code"] == 3
    assert {row["outcome"] for row in strange["rows"]} == {"remote_refused"}
    assert not strange["kept"]
