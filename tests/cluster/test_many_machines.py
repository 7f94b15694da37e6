"""A scheduler, two vantages and a study as processes on hosts of a lab, over mutual TLS."""

from __future__ import annotations

from typing import Any

import pytest

from testing.commands import report_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def report(permitted: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report_of("testing.cluster.many_machines", tmp_path_factory.mktemp("many_machines"))


def test_a_vantage_without_a_valid_certificate_is_refused_in_one_line(report: dict[str, Any]) -> None:
    stranger = report["studied"]["stranger"]
    assert stranger["code"] == 2
    assert "does not accept the other's certificate" in stranger["log"]
    assert len(stranger["log"].splitlines()) == 1


def test_a_vantage_killed_in_mid_call_costs_one_attempt(report: dict[str, Any]) -> None:
    studied = report["studied"]
    assert studied["code"] == 0, studied["log"]
    attempts = studied["attempts"]
    assert sorted(outcome for _, outcome in attempts) == ["completed"] * 2 + ["remote_lost"]
    (lost,) = (call_id for call_id, outcome in attempts if outcome == "remote_lost")
    assert lost.endswith("-a1")
    assert lost.replace("-a1", "-a2") in dict(attempts)
    assert "waiting up to 300 s for a vantage at Frankfurt" in studied["log"]


def test_a_vantage_that_was_killed_or_refused_leaves_no_folder(report: dict[str, Any]) -> None:
    assert report["studied"]["again"]
    assert len(report["studied"]["folders"]) == 2, "of the callee's, and of the caller's that was started again"


def test_calls_between_vantages_are_whole(report: dict[str, Any]) -> None:
    rows = [row for row in report["studied"]["rows"] if row["outcome"] == "completed"]
    assert sorted(row["path"] for row in rows) == ["direct", "direct", "tor", "tor"]
    for row in rows:
        assert (row["network"], row["from_place"], row["to_place"]) == ("public", "Frankfurt", "New York City")
        assert row["packets_received"] == row["packets_sent"] == 200
        if row["path"] == "direct":  # over Tor much comes too late for a fixed buffer
            assert row["mos_lqo"] > 3.5
        assert row["hops"] == (2 if row["path"] == "tor" else 0)
    whole = {"caller.pcap", "callee.pcap", "to_caller.wav", "to_callee.trace.parquet", "record.json"}
    assert sum(whole <= set(files) for files in report["studied"]["files"]) == 2


def test_no_secret_of_the_cluster_is_seen_and_none_is_left(report: dict[str, Any]) -> None:
    assert not report["studied"]["key_in_process_list"]
    assert not report["studied"]["key_left"]


def test_a_what_if_on_the_cluster_gives_the_same_bytes_as_here(report: dict[str, Any]) -> None:
    here, cluster = report["heard_again"]["here"], report["heard_again"]["cluster"]
    assert here["code"] == cluster["code"] == 0, here["log"] + cluster["log"]
    assert here["records"] == cluster["records"] == 8
    assert set(here["files"]) >= {"whatif-calls.csv", "whatif-summary.csv"}
    assert here["files"] == cluster["files"]
