"""Calls through OpenVPN tunnels, from the command line to the data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from testing.commands import Run

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("tor_lab")]


def test_a_call_through_a_tunnel_over_tor_is_measured_and_keeps_its_configuration(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    options = ["--path", "vpn-tor", "--hops", "2", "--guard", "Paris", "--exit", "London", "--security", "none"]
    ran = run("call", *options, "--throughput", "--relay-nodelay", "--seconds", "5", "--out", str(out))
    assert ran.code == 0, ran.messages
    assert len(ran.records) == 2
    for record in ran.records:
        assert (record["path"], record["circuit"]) == ("vpn-tor", "relay4@Paris > relay6@London")
        assert (record["security"], record["tunnel_nodelay"], record["relay_nodelay"]) == ("none", True, True)
        assert record["rtt_min_ms"] <= record["rtt_avg_ms"] <= record["rtt_max_ms"]
        # A round trip is at least the fastest packets' way there and back.
        assert record["rtt_min_ms"] >= sum(other["owd_min_ms"] for other in ran.records) - 2.0
        assert record["throughput_kbit_s"] > 200.0
        assert record["mos_lqo"] > 3.5
    call = next(iter(Dataset.open(out).calls()))
    assert any("neither encrypted nor authenticated" in note for note in call.record.notes)
    assert "socks-proxy 127.0.0.1 9050" in (out / "calls" / call.record.call_id / "caller.ovpn").read_text()
    assert call.has("callee.ovpn")
    stored = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"PRIVATE KEY" not in stored


@pytest.mark.parametrize(
    ("path", "fault", "says"),
    [("vpn", "kill-tunnel@1", "SIGKILL"), ("vpn-tor", "close-circuit@1", "closed: REQUESTED")],
)
def test_a_tunnel_that_breaks_in_mid_call_is_told(run: Run, tmp_path: Path, path: str, fault: str, says: str) -> None:
    ran = run("call", "--path", path, "--inject", fault, "--seconds", "5", "--out", str(tmp_path / "data"))
    assert ran.code == 3
    assert len(ran.complaints) == 1
    assert says in ran.complaints[0]
    assert {record["outcome"] for record in ran.records} == {"path_lost"}
    assert min(record["packets_received"] for record in ran.records) > 20  # what was measured until then is kept
