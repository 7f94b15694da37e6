"""The `tor` path on a real private network: one boot, everything that is asked of a path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earwitness.errors import EarwitnessError
from earwitness.lab.sandbox import check_permitted

from .inside_lab import DATAGRAMS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

FLOWS = {"sip", "rtp", "rtcp", "other"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        check_permitted()
    except EarwitnessError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("tor_path") / "report.json"
    script = Path(__file__).with_name("inside_lab.py")
    argv = [sys.executable, str(script), str(out)]
    ran = subprocess.run(argv, stderr=subprocess.PIPE, text=True, timeout=220, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(Path(out).read_text())


@pytest.fixture(scope="module", params=["two", "three"])
def path(request: pytest.FixtureRequest, report: dict[str, Any]) -> dict[str, Any]:
    return report["two_at_once"][request.param]


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
    assert all(view["relays"] == [] and view["streams"] == [] for view in both["afterwards"])
    assert sorted(both["devices_at_caller"]) == ["lab0", "lo"]
    assert sorted(both["devices_at_callee"]) == ["lab0", "lo"]


def test_configuration_of_tor_is_put_back(report: dict[str, Any], path: dict[str, Any]) -> None:
    assert path["tor"]["leave_unattached"] == "0"
    assert all(view["leave_unattached"] == "0" for view in report["two_at_once"]["afterwards"])


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
