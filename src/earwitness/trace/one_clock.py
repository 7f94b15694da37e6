"""Timestamps of a stream whose codecs have different RTP clocks, in one of them (RFC 7160)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.model import Trace
from earwitness.trace.steps import usual

CONVERTED = "timestamps of codecs with another RTP clock were converted to the main codec's"
_MOST_EXACT = 2.0**53


def in_one_clock(trace: Trace, clock: I64) -> Trace:
    """The trace with all timestamps in units of its `clock_rate`, given the clock of each packet, (n,) Hz.

    If a sender keeps its SSRC when it changes to a codec with another clock, its timestamps go on from the last one, by
    the length of the last packet in units of the old clock or of the new one (RFC 7160 3.1 saw both), or leap. Of the
    two, the one that gives the length of a packet is taken; a leap is taken for that length. The trace itself if there
    is nothing to convert, or if the timestamps are too wild to be converted exactly.
    """
    if CONVERTED in trace.notes or bool(np.all(clock == trace.clock_rate)):
        return trace
    order = np.argsort(trace.sequence, kind="stable")
    clocks = clock[order]
    timestamp = trace.timestamp[order]
    step = np.diff(timestamp)
    if float(np.abs(step).astype(np.float64).sum()) * trace.clock_rate / float(clocks.min()) > _MOST_EXACT:
        return trace
    # Steps in the finest unit of all clocks, so that nothing is rounded before the end.
    unit = int(np.lcm.reduce(np.unique(clocks)))
    steps = step * (unit // clocks[1:])
    lengths = {one: _packet_ticks(step, clocks, one) * (unit // one) for one in np.unique(clocks).tolist()}
    for at in np.flatnonzero(np.diff(clocks)).tolist():
        length = lengths[int(clocks[at])]
        expected = length * int(trace.sequence[order[at + 1]] - trace.sequence[order[at]])
        either = (int(step[at]) * (unit // int(clocks[at])), int(steps[at]))
        nearest = min(either, key=lambda one: abs(one - expected))
        chosen = nearest if abs(nearest - expected) * 4 <= abs(expected) else expected
        if abs(chosen) > _MOST_EXACT:
            return trace
        steps[at] = chosen
    if float(np.abs(steps).astype(np.float64).sum()) * trace.clock_rate > 2.0**62:
        return trace
    fine = np.concatenate(([0], np.cumsum(steps)))
    moved = np.empty(len(trace), dtype=np.int64)
    moved[order] = timestamp[0] + fine * trace.clock_rate // unit
    return replace(trace, timestamp=moved, notes=(*trace.notes, CONVERTED))


def _packet_ticks(step: I64, clocks: I64, clock: int) -> int:
    """The usual step between packets of this clock; 20 ms if there is none."""
    return usual(step[(clocks[1:] == clock) & (clocks[:-1] == clock)]) or max(1, clock // 50)


def clocks_of(trace: Trace) -> I64:
    """The clock of each packet by its payload type's meaning, (n,) Hz; that of the trace where it carries no speech."""
    clock = np.full(256, trace.clock_rate, dtype=np.int64)
    for number, encoding in trace.formats.items():
        if encoding.role == "speech" and encoding.clock_rate > 0:
            clock[number] = encoding.clock_rate
    return np.asarray(clock[trace.payload_type])
