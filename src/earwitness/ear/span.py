"""How long a replay may be: bounded by how many packets arrived and over what time, never by what they claim.

A packet's arrival was observed; its timestamp and sequence number are the far phone's word, which may leap by hours
from one packet to the next. So playing is bounded by arrivals, and so is what is believed of timestamps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earwitness.errors import InputError
from earwitness.trace.model import LOST, Trace

LONGEST_NS = 4 * 3600 * 1_000_000_000
"""No call that is replayed lasts longer."""
QUIET_NS = 600 * 1_000_000_000
"""A stream may be silent for so long ..."""
QUIET_EACH_NS = 1_000_000_000
"""... and for so much more with each packet that arrived. Phones that suppress silence send twice a second and more."""
LEAP_SECONDS = 10
"""Timestamps this far from where they should be are a new timeline."""
LEAST_PACKET_NS = 2_500_000
"""No codec's packets are shorter (Opus)."""


def checked_span(trace: Trace, span_ns: int, packets: int) -> None:
    """Raise InputError where `packets` arrivals over `span_ns` are no call: hours of silence are not rendered."""
    most = min(LONGEST_NS, QUIET_NS + packets * QUIET_EACH_NS)
    if span_ns <= most:
        return
    happened = f"its {packets} packets arrived over {_told(span_ns)}, and at most {_told(most)} are played"
    if most == LONGEST_NS:
        happened = "its arrivals span more than four hours"
    raise InputError("replaying", trace.source or "the trace", happened, "cut the capture into calls")


def leap_seconds(trace: Trace) -> float:
    """How much more time the timestamps span than the arrivals, s, where that is `QUIET_NS` and more; else 0.0."""
    came = trace.arrived_ns[trace.arrived_ns != LOST]
    if not len(came):
        return 0.0
    media = float(int(trace.timestamp.max()) - int(trace.timestamp.min())) / trace.clock_rate
    beyond = media - float(int(came.max()) - int(came.min())) / 1e9
    return beyond if beyond * 1e9 >= QUIET_NS else 0.0


def without_leaps(trace: Trace) -> Trace:
    """The trace with its timestamps brought back, at each leap, to where its arrivals say that they belong.

    Of packets that never arrived those go with the arrived one that was sent before. Every timestamp then lies within
    `LEAP_SECONDS` of its arrival. At least one packet must have arrived. Raises InputError as `checked_span`.
    """
    rows = np.flatnonzero(trace.arrived_ns != LOST)
    rows = rows[np.argsort(trace.arrived_ns[rows], kind="stable")]
    checked_span(trace, int(trace.arrived_ns[rows[-1]] - trace.arrived_ns[rows[0]]), len(rows))
    elapsed = (trace.arrived_ns[rows] - trace.arrived_ns[rows[0]]) * trace.clock_rate // 1_000_000_000
    ahead = trace.timestamp[rows] - elapsed
    most = LEAP_SECONDS * trace.clock_rate
    shift, shifts, origin = 0, [], int(ahead[0])
    for value in ahead.tolist():
        if abs(value + shift - origin) > most:
            shift = origin - value
        shifts.append(shift)
    timestamp = trace.timestamp.copy()
    timestamp[rows] += np.array(shifts, dtype=np.int64)
    lost = np.flatnonzero(trace.arrived_ns == LOST)
    if len(lost):
        order = np.argsort(trace.sequence[rows], kind="stable")
        before = np.searchsorted(trace.sequence[rows][order], trace.sequence[lost], side="right") - 1
        moved = timestamp[lost] + np.array(shifts, dtype=np.int64)[order[np.maximum(before, 0)]]
        timestamp[lost] = np.clip(moved, timestamp[rows].min(), timestamp[rows].max())
    return replace(trace, timestamp=timestamp)


def room_for_packets(trace: Trace) -> int:
    """How many packets can have been sent while the trace's arrived, at most."""
    came = trace.arrived_ns[trace.arrived_ns != LOST]
    return (int(came.max()) - int(came.min())) // LEAST_PACKET_NS if len(came) else 0


def _told(ns: int) -> str:
    seconds = ns / 1e9
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
