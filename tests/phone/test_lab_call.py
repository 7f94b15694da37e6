"""A call over the emulated wide-area network: what was injected comes back as measured."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.phone.call_report import PhoneReport
from testing.commands import INSIDE

pytestmark = pytest.mark.lab

RUN = (
    "import sys; from earwitness.netns.sandbox import run_inside; sys.exit(run_inside([sys.executable, *sys.argv[1:]]))"
)


def lab_call(folder: Path, link: str) -> tuple[list[PhoneReport], dict[str, Any]]:
    done = subprocess.run(
        [*INSIDE, sys.executable, "-m", "testing.phone.inside_lab", str(folder), link],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    return [PhoneReport.from_dict(one) for one in answer["reports"]], answer


def arrivals(pcap: Path, source: str) -> dict[int, int]:
    """RTP sequence number -> ns, of packets from `source` to port 4000 in a raw-IP nanosecond capture."""
    data = pcap.read_bytes()
    assert struct.unpack_from("<I", data)[0] == 0xA1B23C4D
    assert struct.unpack_from("<I", data, 20)[0] == 101
    found, at = {}, 24
    while at < len(data):
        seconds, nanoseconds, kept, _ = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        address = ".".join(map(str, packet[12:16]))
        if packet[9] == 17 and address == source and struct.unpack_from("!H", packet, 22)[0] == 4000:
            found[struct.unpack_from("!H", packet, 30)[0]] = seconds * 10**9 + nanoseconds
    return found


@pytest.fixture(scope="module")
def sixty_ms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PhoneReport], dict[str, Any]]:
    """One call over 60 ms each way, for all that is asked of it."""
    folder = tmp_path_factory.mktemp("call")
    return folder, *lab_call(folder, "delay=60")


def test_delay_and_round_trip_are_what_was_injected(sixty_ms: tuple[Path, list[PhoneReport], dict[str, Any]]) -> None:
    folder, reports, answer = sixty_ms
    assert answer["dropped"] == [0, 0]
    for report in reports:
        assert (report.packets_sent, report.packets_received) == (200, 200)
        assert report.rtcp.median_round_trip_ms == pytest.approx(120, abs=3)
    sent, received = arrivals(folder / "caller.pcap", "10.77.1.1"), arrivals(folder / "callee.pcap", "10.77.1.1")
    assert sent.keys() == received.keys()
    assert len(sent) == 200
    delays_ms = [(received[number] - sent[number]) / 1e6 for number in sent]
    assert np.median(delays_ms) == pytest.approx(60, abs=0.5)
    assert min(delays_ms) > 59.9
    caller = reports[0].milestones
    assert (caller["first_provisional"] - caller["invite_sent"]) / 1e6 == pytest.approx(120, abs=15)


def test_declared_loss_is_what_both_sides_report(tmp_path: Path) -> None:
    reports, _ = lab_call(tmp_path, "delay=20,pattern=10/100,on=rtp")
    for report in reports:
        assert (report.packets_sent, report.packets_received) == (200, 180)
        # The last packets may be the lost ones, and then nobody can tell; our view and theirs differ by those since.
        assert report.packets_lost in (19, 20)
        assert report.rtcp.remote_cumulative_lost in (19, 20)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_sees_two_streams_of_one_call(sixty_ms: tuple[Path, list[PhoneReport], dict[str, Any]]) -> None:
    pcap = str(sixty_ms[0] / "callee.pcap")
    argv = ["tshark", "-r", pcap, "-q", "-z", "rtp,streams"]
    table = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    streams = [line for line in table.splitlines() if "g711U" in line]
    assert len(streams) == 2
    assert all(" 200 " in line and "0 (0.0%)" in line for line in streams)
    argv = ["tshark", "-r", pcap, "-Y", "sip", "-T", "fields", "-e", "sip.Method"]
    methods = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert methods == ["INVITE", "ACK", "BYE"]
