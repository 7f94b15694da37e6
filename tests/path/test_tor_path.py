"""The `tor` path on a real private network: one boot, everything that is asked of a path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.commands import report_of
from testing.path.inside_lab import DATAGRAMS, PROBES

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

FLOWS = {"sip", "rtp", "rtcp", "other"}


@pytest.fixture(scope="module")
def report(permitted: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report_of("testing.path.inside_lab", tmp_path_factory.mktemp("tor_path"), within_s=220)


@pytest.fixture(scope="module", params=["two", "three"])
def path(request: pytest.FixtureRequest, report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report["two_at_once"][request.param]
    return found


def test_flags_follow_the_plan(report: dict[str, Any]) -> None:
    exits = {name for name, flags in report["flags"].items() if "Exit" in flags}
    assert exits == {"relay3", "relay6", "relay8"}


def test_relays_are_those_asked_for(report: dict[str, Any]) -> None:
    both = report["two_at_once"]
    assert both["two"]["hops"] == ["relay1", "relay3"]
    assert both["three"]["hops"] == ["relay4", "relay2", "relay8"]


def test_tor_says_the_same_of_the_circuit(report: dict[str, Any], path: dict[str, Any]) -> None:
    names = report["two_at_once"]["fingerprints"]
    assert path["tor"]["relays"] == [names[hop] for hop in path["hops"]]


def test_every_stream_is_on_the_circuit_and_nothing_else_is(path: dict[str, Any]) -> None:
    streams = path["details"]["streams"]
    assert streams.keys() == FLOWS
    assert path["tor"]["streams"] == sorted(str(stream["stream_id"]) for stream in streams.values())


@pytest.mark.parametrize("direction", ["to_callee", "to_caller"])
def test_every_datagram_arrives_intact_and_in_order(path: dict[str, Any], direction: str) -> None:
    there = path["exchanged"][direction]
    assert there["arrived"] == DATAGRAMS
    assert there["as_sent"]
    assert len(there["from"]) == 1
    assert there["from"][0][1] == 4000


@pytest.mark.parametrize("direction", ["to_callee", "to_caller"])
def test_ports_nobody_named_travel_too(path: dict[str, Any], direction: str) -> None:
    there = path["unknown_ports"][direction]
    assert there["as_sent"]
    assert there["from"][0][1] == (5555 if direction == "to_callee" else 6666)


def test_counts_of_both_ends_agree(path: dict[str, Any]) -> None:
    ends = path["details"]["forwarders"]
    for flow in FLOWS:
        for here, there in (("caller", "callee"), ("callee", "caller")):
            assert ends[here]["flows"][flow]["sent"] == ends[there]["flows"][flow]["received"]
        assert ends["caller"]["flows"][flow]["dropped_queue_full"] == 0
    assert ends["caller"]["flows"]["rtp"]["sent"] == DATAGRAMS
    assert ends["caller"]["flows"]["other"]["sent"] == 20


def test_two_open_paths_have_devices_of_their_own(report: dict[str, Any]) -> None:
    both = report["two_at_once"]
    assert both["two"]["details"]["interface"] != both["three"]["details"]["interface"]
    assert both["two"]["failure"] is None
    assert both["three"]["failure"] is None


def test_nothing_is_left_when_a_path_closes(report: dict[str, Any]) -> None:
    both = report["two_at_once"]
    assert [(view["relays"], view["streams"]) for view in both["afterwards"]] == [([], []), ([], [])]
    assert sorted(both["devices_at_caller"]) == ["lab0", "lo"]
    assert sorted(both["devices_at_callee"]) == ["lab0", "lo"]


def test_configuration_of_tor_is_put_back(report: dict[str, Any], path: dict[str, Any]) -> None:
    assert path["tor"]["leave_unattached"] == "0"
    assert [view["leave_unattached"] for view in report["two_at_once"]["afterwards"]] == ["0", "0"]


def test_streams_of_others_are_left_to_tor(report: dict[str, Any]) -> None:
    assert report["two_at_once"]["somebody_elses"] == 0  # RFC 1928: succeeded


def test_stranger_at_the_listener_gets_nothing(path: dict[str, Any]) -> None:
    assert path["stranger"] == {"answer": "", "still_fine": True}
    assert path["details"]["forwarders"]["callee"]["strangers"] == 1


def test_refusing_exit_is_a_typed_outcome_with_tors_reason(report: dict[str, Any]) -> None:
    assert report["refused"]["outcome"] == "stream_refused"
    assert report["refused"]["evidence"]["remote_reason"] == "EXITPOLICY"
    assert "EXITPOLICY" in report["refused"]["line"]


def test_circuit_is_kept_where_asked(report: dict[str, Any]) -> None:
    first, second = report["kept"]
    assert (first["kept"], second["kept"]) == (False, True)
    assert first["circuit"] == second["circuit"]


def test_onion_path_carries_both_ways_over_six_relays(report: dict[str, Any]) -> None:
    onion = report["onion"]
    for direction in ("to_callee", "to_caller"):
        assert onion["exchanged"][direction]["as_sent"]
    assert len(onion["hops"]) == 6
    assert onion["hops"][2] == onion["details"]["rendezvous"]
    assert onion["failure"] is None


def test_nodelay_is_set_or_cleared_for_the_call_and_recorded(report: dict[str, Any]) -> None:
    nodelay = report["nodelay"]
    assert (nodelay["True"], nodelay["False"]) == (0, 0)
    assert (nodelay["True_recorded"], nodelay["False_recorded"]) == (True, False)


def test_relay_killed_in_mid_call_is_noticed_with_tors_reason(report: dict[str, Any]) -> None:
    death = report["deaths"]["relay"]
    assert death["before"] is None
    assert "DESTROYED" in death["reason"]
    assert death["after_s"] < 2.0


def test_circuit_through_a_dead_relay_is_a_typed_outcome(report: dict[str, Any]) -> None:
    failed = report["deaths"]["through_the_dead"]
    assert failed["outcome"] == "circuit_failed"
    assert failed["evidence"]["hops_built"] == 1


def test_killed_forwarder_is_noticed(report: dict[str, Any]) -> None:
    deaths = report["deaths"]
    assert deaths["tcp"]["to_callee"]["as_sent"]
    assert deaths["tcp"]["to_caller"]["as_sent"]
    assert deaths["forwarder"]["before"] is None
    assert "forwarder" in deaths["forwarder"]["reason"] or "closed" in deaths["forwarder"]["reason"]
    assert deaths["forwarder"]["after_s"] < 2.0


SECURITIES = ("none", "static", "tls")


@pytest.mark.parametrize("kind", [*SECURITIES, "tor"])
def test_tunnel_carries_both_ways_and_leaves_no_key_behind(report: dict[str, Any], kind: str) -> None:
    tunnel = report["vpn"][kind]
    for direction in ("to_callee", "to_caller"):
        assert tunnel["exchanged"][direction]["as_sent"]
    assert tunnel["exchanged"]["to_caller"]["from"] == [["10.8.0.1", 4000]]
    assert tunnel["exchanged"]["to_callee"]["from"] == [["10.8.0.2", 4000]]
    assert tunnel["left_on_disk"] == []
    assert tunnel["failure"] is None


def test_security_is_what_was_asked_for_and_its_weakness_is_told(report: dict[str, Any]) -> None:
    ciphers = {kind: report["vpn"][kind]["details"]["cipher"] for kind in SECURITIES}
    assert ciphers == {"none": "", "static": "AES-256-CBC", "tls": "AES-256-GCM"}
    assert [bool(report["vpn"][kind]["notes"]) for kind in SECURITIES] == [True, True, False]
    assert "neither encrypted nor authenticated" in report["vpn"]["none"]["notes"][0]


def test_tunnel_over_tor_is_the_same_tunnel_on_our_circuit(report: dict[str, Any]) -> None:
    straight, through = (report["vpn"][kind] for kind in ("tls", "tor"))
    lines = [
        {line for line in tunnel["files"]["caller.ovpn"].splitlines() if not line.startswith("remote ")}
        for tunnel in (straight, through)
    ]
    assert lines[1] - lines[0] == {"socks-proxy 127.0.0.1 9050 socks-auth"}
    assert through["hops"] == ["relay4", "relay8"]
    assert through["tor"]["relays"] == through["fingerprints"]
    stream = through["details"]["streams"]["tunnel"]
    assert through["tor"]["streams"] == [str(stream["stream_id"])]
    assert through["tor"]["leave_unattached"] == "0"
    assert through["details"]["relay_nodelay"] is True


def test_no_secret_is_on_a_command_line(report: dict[str, Any]) -> None:
    for kind in (*SECURITIES, "tor"):
        assert "earwitness-" not in report["vpn"][kind]["command_lines"]
        assert "BEGIN" not in json.dumps(report["vpn"][kind]["files"])


def test_tunnel_that_dies_is_noticed_with_its_cause(report: dict[str, Any]) -> None:
    killed, torn_down = report["vpn"]["killed"], report["vpn"]["torn_down"]
    assert (killed["before"], torn_down["before"]) == (None, None)
    assert "SIGKILL" in killed["reason"]
    assert "closed: REQUESTED" in torn_down["reason"]
    assert max(killed["after_s"], torn_down["after_s"]) < 2.0


@pytest.mark.parametrize(
    ("fault", "outcome", "says"),
    [
        ("wrong_certificate", "path_failed", "VERIFY ERROR"),
        ("never_up", "path_failed", "not up after 2 s"),
        ("no_socks", "path_failed", "SOCKS port at 127.0.0.1:9: TCP: connect to"),
        ("no_socks_tor", "path_failed", "SOCKS port at 127.0.0.1:9"),
        ("no_tor", "path_failed", "control port of tor"),
        ("no_openvpn", "tool_missing", "apt-get install openvpn"),
    ],
)
def test_tunnel_that_does_not_open_is_a_typed_outcome(
    report: dict[str, Any], fault: str, outcome: str, says: str
) -> None:
    failed = report["tunnel_faults"][fault]
    assert failed["outcome"] == outcome
    assert says in failed["line"]
    assert report["tunnel_faults"]["left_on_disk"] == []


def test_probes_measure_what_the_links_are(report: dict[str, Any]) -> None:
    probes = report["probes"]
    for path in ("direct", "tcp"):
        assert probes[path]["rtt"]["received"] == PROBES
        assert probes["link_rtt_ms"] <= probes[path]["rtt"]["min_ms"] < probes["link_rtt_ms"] + 5.0
        # 2 Mbit/s with headers: TCP carries at most 1448 bytes of each 1500 that the link counts.
        assert 1200.0 < probes[path]["to_caller"]["kbit_s"] < 2000.0
        assert probes[path]["to_caller"]["seconds"] <= 3.0
        assert probes[path]["to_callee"]["kbit_s"] > 1.5 * probes[path]["to_caller"]["kbit_s"]
    for kind in ("tls", "tor"):
        measured = report["vpn"][kind]["measured"]
        assert measured["rtt"]["received"] == 3
        assert min(measured[direction]["kbit_s"] for direction in ("to_callee", "to_caller")) > 500.0


def test_onion_service_that_nobody_offers_is_a_typed_outcome_with_tors_reason(report: dict[str, Any]) -> None:
    failed = report["onion_nobody_offers"]
    assert failed["outcome"] == "onion_unreachable"
    assert "NOT_FOUND" in failed["line"]
    assert len(failed["evidence"]["descriptor_failures"]) > 1  # tor asked more than one directory


def test_single_onion_service_has_no_relays_of_its_own(report: dict[str, Any]) -> None:
    single = report["single_onion"]
    for direction in ("to_callee", "to_caller"):
        assert single["exchanged"][direction]["as_sent"]
    assert len(single["hops"]) == 3
    assert "did not hide" in single["notes"][0]
