"""The published captures: the study's own figures, and tshark's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from earwitness.trace.capture import read_capture
from earwitness.trace.clock import estimate_clock, on_one_clock
from earwitness.trace.jitter import as_published
from earwitness.trace.pair import pair
from earwitness.trace.problem import ProblemKind
from earwitness.trace.report import SIDES
from earwitness.trace.timing import summarise
from earwitness.trace.wireshark import wireshark_figures
from testing.trace import tshark
from testing.trace.published_captures import captures, non_tor

pytestmark = pytest.mark.published


def test_every_capture_gives_its_rows_six_jitter_statistics(published: Path) -> None:
    by_capture: dict[Path, list[float]] = {}
    for row in non_tor(published):
        streams = read_capture(row.path).sent_by(SIDES[row.side])
        assert bool(streams) == (row.jitter is not None)
        worst = 0.0
        if row.jitter is not None:
            ours = dataclasses.astuple(as_published(streams[0].trace))[:6]
            worst = max(abs(a - b) for a, b in zip(ours, row.jitter, strict=True))
        by_capture.setdefault(row.path, []).append(worst)
    assert len(by_capture) == 39
    assert max(min(worst) for worst in by_capture.values()) <= 0.002


@pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
def test_a_sample_agrees_with_tshark_to_the_printed_digit(published: Path, tmp_path: Path) -> None:
    compared = 0
    for path in captures(published)[::19]:
        capture = read_capture(path)
        if not capture.streams:
            continue
        told = tmp_path / "told.pcap"
        told.write_bytes(tshark.with_sdp(capture, path.read_bytes()))
        theirs = tshark.streams(told)
        for stream in capture.streams:
            ours = tshark.printed(wireshark_figures(stream.trace, capture.started_ns))
            assert ours == theirs[stream.flow.source, stream.ssrc], path
            compared += 1
    assert compared >= 10


def test_bursts_tell_tor_from_no_tor(published: Path) -> None:
    shares: dict[str, list[float]] = {"Tor": [], "Non-Tor": []}
    for path in captures(published):
        network = path.parts[path.parts.index("Sample-Raw-Data") + 1]
        if "g711" in path.parts and "caller" in path.parts:
            streams = read_capture(path).sent_by("10.8.0.1")
            shares[network] += [summarise(stream.trace).burst_share_1 for stream in streams]
    assert sum(shares["Tor"]) / len(shares["Tor"]) == pytest.approx(0.10, abs=0.01)
    assert sum(shares["Non-Tor"]) / len(shares["Non-Tor"]) > 0.97


def test_the_broken_captures_are_told_and_kept_as_far_as_they_go(published: Path) -> None:
    kinds = [problem.kind for path in captures(published) for problem in read_capture(path).problems]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        ProblemKind.EMPTY: 2,
        ProblemKind.NO_RTP: 7,
        ProblemKind.CORRUPT: 1,
    }


def test_two_captures_of_a_call_give_one_way_delays_that_agree_with_rtcp(published: Path) -> None:
    folder = published / "05-data/Sample-Raw-Data/Non-Tor/g711/23rdApril_NonTor_loggr/6nyc-syd"
    near = read_capture(folder / "caller/data/test_pcaps/pcap_capture_inside_0.pcap")
    far = read_capture(folder / "callee/data/test_pcaps/pcap_callee_inside_0.pcap")
    out = pair(near.sent_by("10.8.0.2")[0].trace, far.sent_by("10.8.0.2")[0].trace)
    back = pair(far.sent_by("10.8.0.1")[0].trace, near.sent_by("10.8.0.1")[0].trace)
    estimate = estimate_clock(out, back)
    assert estimate.bound_ms < 5.0
    assert abs(estimate.skew_ppm) < 5.0
    assert summarise(on_one_clock(out, estimate)).owd_p50_ms == pytest.approx(estimate.rtt_min_ms / 2, abs=1.0)
