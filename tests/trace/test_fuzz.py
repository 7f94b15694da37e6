"""Broken captures: never a crash, a hang, or memory without bound; `bench` runs a hundred thousand."""

from __future__ import annotations

import random
import resource
import struct
import time
from pathlib import Path

import pytest

from earwitness.trace import container
from testing.trace.making import PHONE, START_NS, Datagram, block, invite, pcap, pcapng
from testing.trace.mutating import inflated, mutate, originals
from testing.trace.reading import read_all


def test_a_few_thousand_broken_captures() -> None:
    rng = random.Random(20)
    whole = originals()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = 0
    for _ in range(1500):
        data = mutate(rng.choice(whole), rng)
        begun = time.monotonic()
        seen += read_all(data, rng.random() < 0.5)
        assert time.monotonic() - begun < 2.0
    assert seen > 900
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.timeout(120)
def test_broken_captures_that_are_too_much_and_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece and part in bounded memory; the same streams as from one piece, where no damage is passed over."""
    rng = random.Random(18)
    whole = originals()
    read_all(whole[0], False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "a.pcap"
    seen = 0
    for _ in range(60):
        data = inflated(rng.choice(whole), rng, 1 << 17)
        path.write_bytes(data)
        for size in (512, 8192):
            monkeypatch.setattr(container, "PIECE_BYTES", size)
            found = read_all(path, False)
            assert found == read_all(data, False)
            read_all(path, True)
        seen += found
    assert seen > 25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024


def test_floods_cost_no_more_than_their_size() -> None:
    """Files whose every part is sound, and of which there is too much."""
    flow = [
        Datagram(START_NS + i, b"\x80" + bytes(20), (f"10.{i % 200}.{i // 200 % 200}.1", 1000 + i % 50_000), PHONE)
        for i in range(20_000)
    ]
    sections = "".join(f"m=audio {1000 + i} RTP/AVP 0\r\na=rtpmap:{i % 128} x{i}/8000\r\n" for i in range(1000))
    interfaces = b"".join(block(1, bytes([i & 255, i >> 8, 0, 0, 0, 0, 0, 0])) for i in range(30_000))
    empty = struct.pack("<IIII", 1, 0, 0, 0) * 100_000
    floods = [
        pcap([*[invite(sections, START_NS + i) for i in range(50)], *flow]),
        pcapng([("raw", 6, flow[:200])]) + interfaces,
        pcap([]) + empty,
        pcap(flow[:1]) + b"\xff" * 500_000,
    ]
    for data in floods:
        begun = time.monotonic()
        read_all(data, resume=True)
        assert time.monotonic() - begun < 10.0
