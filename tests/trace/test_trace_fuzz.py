"""Broken captures: never a crash, a hang, or memory without bound; `bench` runs a hundred thousand."""

from __future__ import annotations

import random
import resource
import time

from mutating import mutate, originals

from earwitness.errors import InputError
from earwitness.trace.capture import parse_capture
from earwitness.trace.rtcp import round_trips
from earwitness.trace.timing import summarise
from earwitness.trace.wireshark import wireshark_figures


def read_all(data: bytes, resume: bool) -> int:
    """Everything that is ever done with a capture; how many streams it had."""
    try:
        capture = parse_capture(data, resume=resume)
    except InputError:
        return 0
    for stream in capture.streams:
        trace = stream.trace
        assert (trace.size >= 0).all()
        assert trace.payloads is not None
        assert (trace.payloads.captured <= trace.size).all()
        assert (trace.payloads.start + trace.payloads.captured <= len(data)).all()
        found = summarise(trace)
        assert 0 <= found.packets_received <= found.packets_expected
        assert found.packets_received + found.packets_duplicate == len(trace)
        wireshark_figures(trace)
    round_trips(capture)
    assert len(capture.streams) or capture.problems or not capture.packets
    return len(capture.streams)


def test_a_few_thousand_broken_captures() -> None:
    rng = random.Random(20)
    whole = originals()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = 0
    for _ in range(2500):
        data = mutate(rng.choice(whole), rng)
        begun = time.monotonic()
        seen += read_all(data, rng.random() < 0.5)
        assert time.monotonic() - begun < 2.0
    assert seen > 1500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
