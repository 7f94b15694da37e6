"""Codecs of different clocks in one stream: converted in time proportional to its length."""

from __future__ import annotations

import time

import numpy as np
import pytest

from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Trace
from earwitness.trace.one_clock import clocks_of, in_one_clock
from testing.trace.numbering import received

FORMATS = {0: Encoding("PCMU", 8000), 98: Encoding("speex", 16000)}


def alternating(packets: int, every: int) -> Trace:
    """Packets of 20 ms, of two codecs in turn, whose timestamps go on by each packet's own clock."""
    number = np.arange(packets)
    other = number // every % 2 == 1
    ticks = np.where(other, 320, 160)
    timestamp = 1000 + np.concatenate(([0], np.cumsum(ticks)[:-1]))
    return received(number, timestamp, number * 20, payload_type=np.where(other, 98, 0), formats=FORMATS)


@pytest.mark.parametrize("every", [1, 7, 100])
def test_timestamps_advance_evenly_in_one_clock(every: int) -> None:
    trace = alternating(400, every)
    moved = in_one_clock(trace, clocks_of(trace))
    assert np.diff(moved.timestamp).tolist() == [160] * 399


def test_many_changes_of_the_clock_cost_time_in_proportion() -> None:
    def seconds(packets: int) -> float:
        trace = alternating(packets, 1)
        clocks = clocks_of(trace)
        began = time.process_time()
        in_one_clock(trace, clocks)
        return time.process_time() - began

    short = min(seconds(4000) for _ in range(3))
    assert seconds(32_000) < 8 * 3 * short
