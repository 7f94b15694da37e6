from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from earwitness.capture.live import CaptureProcess, call_clock_ns, epoch_offset_ns
from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host

pytestmark = [pytest.mark.realtime, pytest.mark.skipif(os.geteuid() != 0, reason="a packet socket needs root")]


def records(path: Path) -> list[tuple[int, bytes, int]]:
    """(ns, bytes kept, length on the wire) of each packet of a nanosecond pcap."""
    data = path.read_bytes()
    assert struct.unpack_from("<IHH", data) == (0xA1B23C4D, 2, 4)
    found, at = [], 24
    while at < len(data):
        seconds, nanoseconds, kept, wire = struct.unpack_from("<IIII", data, at)
        found.append((seconds * 10**9 + nanoseconds, data[at + 16 : at + 16 + kept], wire))
        at += 16 + kept
    return found


def rtp(sequence: int) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 99) + bytes(160)


@pytest.fixture
def ports() -> tuple[socket.socket, socket.socket]:
    a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    a.bind(("127.77.0.1", 0))
    b.bind(("127.77.0.2", 0))
    return a, b


def test_every_packet_with_its_time_on_the_calls_clock(
    host: Host, tmp_path: Path, ports: tuple[socket.socket, socket.socket]
) -> None:
    a, b = ports
    out, offset = tmp_path / "a.pcap", epoch_offset_ns()
    sent: list[tuple[int, int]] = []

    async def scenario() -> int:
        async with await CaptureProcess.start(
            host, "lo", out, epoch_offset_ns=offset, ports=[b.getsockname()[1]]
        ) as capture:
            for sequence in range(300):
                before = call_clock_ns(offset)
                a.sendto(rtp(sequence), b.getsockname())
                sent.append((before, call_clock_ns(offset)))
                a.sendto(b"elsewhere", ("127.77.0.3", 9))
                time.sleep(0.001)
        assert capture.summary is not None
        assert capture.summary.dropped == 0
        assert capture.summary.clock_steps == ()
        return capture.summary.packets

    packets = asyncio.run(scenario())
    rows = [row for row in records(out) if row[1][14 + 9] == socket.IPPROTO_UDP]
    assert packets == len(records(out))
    assert len(rows) == 300
    assert [struct.unpack_from("!H", data, 14 + 28 + 2)[0] for _, data, _ in rows] == list(range(300))
    stamps = [stamp for stamp, _, _ in rows]
    assert stamps == sorted(stamps)
    slack = 100_000  # of the two clock readings, ns
    assert all(before - slack <= stamp <= after + slack for stamp, (before, after) in zip(stamps, sent, strict=True))


def test_a_killed_capture_can_still_be_read(
    host: Host, tmp_path: Path, ports: tuple[socket.socket, socket.socket]
) -> None:
    a, b = ports
    out = tmp_path / "killed.pcap"

    async def scenario() -> None:
        capture = await CaptureProcess.start(
            host, "lo", out, epoch_offset_ns=epoch_offset_ns(), ports=[b.getsockname()[1]]
        )
        for sequence in range(50):
            a.sendto(rtp(sequence), b.getsockname())
        await asyncio.sleep(0.3)
        os.kill(capture._child.pid, signal.SIGKILL)
        with pytest.raises(CallFailure):
            await capture.stop()

    asyncio.run(scenario())
    assert len(records(out)) >= 50


def test_snap_length_keeps_the_true_length(
    host: Host, tmp_path: Path, ports: tuple[socket.socket, socket.socket]
) -> None:
    a, b = ports
    out = tmp_path / "short.pcap"

    async def scenario() -> None:
        offset, port = epoch_offset_ns(), b.getsockname()[1]
        async with await CaptureProcess.start(host, "lo", out, epoch_offset_ns=offset, ports=[port], snap_length=85):
            a.sendto(rtp(1), b.getsockname())

    asyncio.run(scenario())
    [(_, data, wire)] = [row for row in records(out) if row[1][14 + 9] == socket.IPPROTO_UDP]
    assert (len(data), wire) == (85, 14 + 20 + 8 + 172)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_decodes_it_as_rtp(host: Host, tmp_path: Path, ports: tuple[socket.socket, socket.socket]) -> None:
    a, b = ports
    out = tmp_path / "w.pcap"
    port = b.getsockname()[1]

    async def scenario() -> None:
        async with await CaptureProcess.start(host, "lo", out, epoch_offset_ns=epoch_offset_ns(), ports=[port]):
            for sequence in range(10):
                a.sendto(rtp(sequence), b.getsockname())

    asyncio.run(scenario())
    argv = ["tshark", "-r", str(out), "-d", f"udp.port=={port},rtp", "-Y", "rtp", "-T", "fields", "-e", "rtp.seq"]
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert found == [str(sequence) for sequence in range(10)]


@pytest.mark.parametrize(
    ("interface", "folder", "outcome"),
    [("nonesuch0", ".", Outcome.PATH_FAILED), ("lo", "missing/folder", Outcome.STORAGE_FAILED)],
)
def test_what_cannot_be_captured_is_a_typed_ending(
    host: Host, tmp_path: Path, interface: str, folder: str, outcome: Outcome
) -> None:
    out = tmp_path / folder / "x.pcap"
    with pytest.raises(CallFailure) as caught:
        asyncio.run(CaptureProcess.start(host, interface, out, epoch_offset_ns=0))
    assert caught.value.outcome is outcome


def test_a_full_disk_is_told(host: Host, ports: tuple[socket.socket, socket.socket]) -> None:
    a, b = ports

    async def scenario() -> None:
        async with await CaptureProcess.start(
            host, "lo", Path("/dev/full"), epoch_offset_ns=0, ports=[b.getsockname()[1]]
        ):
            a.sendto(rtp(1), b.getsockname())

    with pytest.raises(CallFailure) as caught:
        asyncio.run(scenario())
    assert caught.value.outcome is Outcome.STORAGE_FAILED
