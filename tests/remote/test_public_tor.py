"""Calls over a Tor network that a running tor knows, to another machine: a private one taken for the public one."""

from __future__ import annotations

from typing import Any

import pytest

from testing.commands import report_of
from testing.remote.remote_paths import SHORT_S
from testing.remote.two_machines import CLOCK_OFFSET_MS, PACKETS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def report(permitted: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report_of("testing.remote.public_tor", tmp_path_factory.mktemp("public_tor"))


@pytest.mark.parametrize(("name", "hops"), [("two", 2), ("three", 3)])
def test_a_call_over_a_circuit_of_a_running_tor(report: dict[str, Any], name: str, hops: int) -> None:
    call = report[name]
    assert call["code"] == 0, call["log"]
    assert len(call["rows"]) == 2
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


SHORT = round(SHORT_S * 50)


def completed(call: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a call that is whole, over a path on which everything was measured that is measured elsewhere."""
    assert call["code"] == 0, call["log"]
    assert len(call["rows"]) == 2
    for row in call["rows"]:
        assert row["outcome"] == "completed"
        assert row["rtt_min_ms"] > 100.0  # Frankfurt - New York and back
        assert row["throughput_kbit_s"] > 100.0
        assert row["path_setup_ms"] > 0
        assert row["mos_lqo"] > 1.0  # on a busy machine much comes too late for a fixed buffer
        assert row["owd_p50_ms"] > 40.0
    clock = call["clocks"]["callee"]
    assert abs(clock["offset_ns"] / 1e6 - CLOCK_OFFSET_MS) <= clock["error_ms"]
    rows: list[dict[str, Any]] = call["rows"]
    return rows


def test_a_tunnel_linphones_and_a_sip_server_that_the_callee_opens(report: dict[str, Any]) -> None:
    call = report["vpn"]
    for row in completed(call):
        assert (row["path"], row["phone"], row["sip_server"], row["hops"]) == ("vpn", "linphone", "lab", 0)
        assert row["packets_received"] >= SHORT
        assert row["phone_mos_lqo"] is not None
    details = call["path_details"]
    assert (details["security"], details["tunnel_nodelay"], details["cipher"]) == ("static", False, "AES-256-CBC")
    assert {"caller.ovpn", "callee.ovpn", "caller-linphone.wav", "callee-linphone.wav"} <= set(call["files"])
    assert "registered" in call["milestones"]
    assert "8444" in call["kept"]  # the port that `answer` was given, in OpenVPN's log
    assert call["openvpns"] == 1


def test_no_secret_of_a_tunnel_or_a_sip_server_is_left(report: dict[str, Any]) -> None:
    call = report["vpn"]
    # While the call is on: the keys have been read and removed, and so has Kamailio's configuration.
    assert not {"static.key", "server.ovpn", "client.ovpn", "kamailio.cfg"} & set(call["on_disk"])
    assert "rc" in call["on_disk"]  # linphone's, which it reads when it likes: we looked in the right place
    assert call["left"] == []
    assert "BEGIN" not in call["kept"]
    assert call["tunnels"] == []


def test_a_tunnel_over_a_circuit_to_another_machine(report: dict[str, Any]) -> None:
    call = report["vpn_tor"]
    for row in completed(call):
        assert (row["path"], row["hops"], row["packets_received"]) == ("vpn-tor", 2, SHORT)
    assert call["path_details"]["security"] == "tls"
    assert [stream["circuit_id"] != "0" for stream in call["path_details"]["streams"].values()] == [True]


def test_an_onion_service_of_the_callee_s_tor(report: dict[str, Any]) -> None:
    call = report["onion"]
    for row in completed(call):
        assert (row["path"], row["packets_received"]) == ("onion", SHORT)
        relays = [relay.partition("@")[0] for relay in row["circuit"].split(" > ")]
        assert len(relays) == 6
        assert set(relays) <= set(report["relays"])
    assert call["path_details"]["descriptor_uploads"] >= 1


def test_no_tor_at_the_other_machine_is_a_typed_outcome(report: dict[str, Any]) -> None:
    call = report["no_tor_there"]
    assert {row["outcome"] for row in call["rows"]} == {"path_failed"}
    assert "unix:/nowhere of there" in call["detail"]
    assert "answer --tor-control" in call["detail"]


def test_a_far_tunnel_that_dies_in_mid_call_is_a_typed_outcome(report: dict[str, Any]) -> None:
    call = report["tunnel_dies"]["tunnel"]
    assert {row["outcome"] for row in call["rows"]} == {"path_lost"}
    assert "openvpn at there ended: killed by SIGKILL" in call["detail"]
    assert all(row["packets_received"] > 10 for row in call["rows"])


def test_an_answer_killed_under_a_tunnel_leaves_nothing_running(report: dict[str, Any]) -> None:
    call = report["tunnel_dies"]["answer"]
    assert {row["outcome"] for row in call["rows"]} == {"remote_lost"}
    assert report["tunnel_dies"]["running"] == 2
    assert report["tunnel_dies"]["left"] == []


@pytest.mark.parametrize(("path", "hops"), [("onion", 6), ("tor", 2), ("vpn-tor", 2)])
def test_both_ends_on_one_machine_over_its_tor(report: dict[str, Any], path: str, hops: int) -> None:
    call = report["same_machine"][path]
    assert call["code"] == 0, call["log"]
    assert len(call["rows"]) == 2
    for row in call["rows"]:
        assert (row["outcome"], row["network"], row["path"], row["hops"]) == ("completed", "public", path, hops)
        assert row["packets_received"] == SHORT
        assert row["from_place"] == row["to_place"] == "Frankfurt"
        assert row["rtt_min_ms"] > 10.0
        assert row["owd_error_ms"] < 1.0  # one machine has one clock
    assert len(call["clocks"]) == 1


def test_both_ends_on_one_machine_leave_nothing_there(report: dict[str, Any]) -> None:
    same = report["same_machine"]
    assert not [device for device in same["devices"] if device.startswith("ew")]
    assert same["left"] == []
