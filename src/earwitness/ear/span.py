"""Limits how long a replay may be, by how many packets arrived and when, never by what they claim.

Arrival times were observed; timestamps and sequence numbers are claims of the sender and may leap by hours from one
packet to the next. So both the playing time and the trust in timestamps are bounded by the arrivals.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earwitness.errors import InputError
from earwitness.trace.model import LOST, Trace

LONGEST_NS = 4 * 3600 * 1_000_000_000
"""Longest call that is replayed."""
QUIET_NS = 600 * 1_000_000_000
"""Silence allowed for any stream ..."""
QUIET_EACH_NS = 1_000_000_000
"""... plus this much per arrived packet. Phones that suppress silence still send at least twice a second."""
LEAP_SECONDS = 10
"""Timestamps this far from their expected value start a new timeline."""
LEAST_PACKET_NS = 2_500_000
"""Shortest packet of any codec (Opus)."""


def checked_span(trace: Trace, span_ns: int, packets: int) -> None:
    """Raise InputError if `packets` arrivals over `span_ns` cannot be a call: hours of silence are not rendered."""
    most = min(LONGEST_NS, QUIET_NS + packets * QUIET_EACH_NS)
    if span_ns <= most:
        return
    happened = (
        f"its {packets} packets arrived over {_duration(span_ns)}, more than the {_duration(most)} that can be played"
    )
    if most == LONGEST_NS:
        happened = "its arrivals span more than four hours"
    raise InputError("replaying", trace.source or "the trace", happened, "cut the capture into calls")


def leap_seconds(trace: Trace) -> float:
    """Excess of the timestamps' span over that of the arrivals, s, if it is `QUIET_NS` or more; else 0.0."""
    came = trace.arrived_ns[trace.arrived_ns != LOST]
    if not len(came):
        return 0.0
    media = float(int(trace.timestamp.max()) - int(trace.timestamp.min())) / trace.clock_rate
    beyond = media - float(int(came.max()) - int(came.min())) / 1e9
    return beyond if beyond * 1e9 >= QUIET_NS else 0.0


def without_leaps(trace: Trace) -> Trace:
    """The trace with its timestamps moved, at each leap, to where the arrivals imply.

    Packets that never arrived move with the arrived packet sent before them. Every timestamp then lies within
    `LEAP_SECONDS` of its arrival. At least one packet must have arrived. Raises InputError like `checked_span`.
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
    """The largest number of packets that can have been sent while those of the trace arrived."""
    came = trace.arrived_ns[trace.arrived_ns != LOST]
    return (int(came.max()) - int(came.min())) // LEAST_PACKET_NS if len(came) else 0


def _duration(ns: int) -> str:
    seconds = ns / 1e9
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
