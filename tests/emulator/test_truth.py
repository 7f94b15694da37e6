"""The log as written by the emulator and as read back."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from earwitness.emulator import truth_log
from earwitness.emulator.lateness import LatenessHistogram
from earwitness.emulator.truth import read_truth
from earwitness.emulator.truth_log import NO_HOST, PacketFate, TruthLog

HOSTS = {1: "caller", 2: "callee"}


def udp(payload: bytes, options: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH8s", 0x45 + options, 0, 0, 0, 0, 64, 17, 0, bytes(8)) + bytes(4 * options)
    return header + struct.pack("!HHHH", 4000, 4001, 8 + len(payload), 0) + payload


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = TruthLog(tmp_path)
    media = struct.pack("!BBHII", 0x80, 0, 65535, 4_000_000_000, 0xDEADBEEF) + bytes(160)
    log.append(2000, 52_000, 52_010, 1, 2, udp(media), PacketFate.DELIVERED)
    log.append(1000, 0, 0, 1, 2, udp(media, options=2), PacketFate.LOST_DECLARED)
    log.append(3000, 0, 0, 2, NO_HOST, udp(b"INVITE sip:callee"), PacketFate.NO_ROUTE)
    log.append(4000, 5000, 5001, 2, 1, udp(b"\x81\xc8" + bytes(20)), PacketFate.DUPLICATE)  # RTCP sender report
    tcp = struct.pack("!BBHHHBBH8s", 0x45, 0, 0, 0, 0, 64, 6, 0, bytes(8)) + struct.pack("!HH", 9001, 40000) + bytes(16)
    log.append(5000, 6000, 6001, 2, 1, tcp, PacketFate.DELIVERED)
    log.append(6000, 7000, 7001, 2, 1, b"\x45" + bytes(8) + b"\x01" + bytes(12), PacketFate.DELIVERED)  # short ICMP
    log.flush()
    table = read_truth(tmp_path, HOSTS)
    assert table["in_ns"].tolist() == [1000, 2000, 3000, 4000, 5000, 6000]
    assert table["fate"].tolist()[:3] == ["lost_declared", "delivered", "no_route"]
    assert table["out_ns"].isna().tolist() == [True, False, True, False, False, False]
    assert table["due_ns"][1] == 52_000
    assert table["rtp_sequence"].dropna().tolist() == [65535, 65535]
    assert table["rtp_timestamp"][1] == 4_000_000_000
    assert table["rtp_ssrc"][1] == 0xDEADBEEF
    assert table["payload"][1] == media[:12]
    assert table["protocol"].tolist() == ["udp", "udp", "udp", "udp", "tcp", "icmp"]
    assert (table["source_port"][1], table["destination_port"][1]) == (4000, 4001)
    assert (table["source_port"][4], table["destination_port"][4]) == (9001, 40000)
    assert table["length"][1] == 28 + 172
    assert table["destination"].isna().tolist() == [False, False, True, False, False, False]
    assert len(read_truth(tmp_path, HOSTS, source="caller", destination="callee")) == 2
    assert read_truth(tmp_path, HOSTS, since_ns=2000, until_ns=4000)["in_ns"].tolist() == [2000, 3000]


def test_an_empty_log_is_an_empty_table(tmp_path: Path) -> None:
    assert len(read_truth(tmp_path, HOSTS)) == 0


def test_old_segments_go_so_that_the_log_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_log, "SEGMENT_BYTES", truth_log.RECORD.size * truth_log.BUFFERED_RECORDS)
    monkeypatch.setattr(truth_log, "SEGMENTS_KEPT", 3)
    log = TruthLog(tmp_path)
    count = truth_log.BUFFERED_RECORDS * 6
    for number in range(count):
        log.append(number, number, number, 1, 2, udp(b""), PacketFate.DELIVERED)
    kept = read_truth(tmp_path, HOSTS)["in_ns"].tolist()
    assert kept == list(range(count - 2 * truth_log.BUFFERED_RECORDS, count))
    assert len(list(tmp_path.iterdir())) == 3


def test_lateness_quantiles() -> None:
    lateness = LatenessHistogram()
    for late_us in range(1000):
        lateness.add(late_us * 1000 + 500)
    lateness.add(50_000_000)
    summary = lateness.summary()
    assert summary["packets"] == 1001
    assert summary["p50_ms"] == pytest.approx(0.5, abs=0.002)
    assert summary["p99_ms"] == pytest.approx(0.99, abs=0.002)
    assert summary["max_ms"] == 50
    assert LatenessHistogram().summary()["p99_ms"] == 0
