"""RTP stream figures as Wireshark computes them (`tshark -z rtp,streams`, 4.0). Its definitions differ from RFC 3550's.

- The jitter estimate is RFC 3550's, in ms and floating point. But its minimum, mean and maximum exclude packets with
  the marker bit, comfort noise (payload types 13 and 19), the packet after comfort noise, and packets timestamped
  before the first one (the estimate itself is updated by marked packets).
- Means divide by the number of *all* packets so far, although some were excluded, step by step; this gives slightly
  more weight to what came before each excluded packet.
- Lost is the last sequence number minus the first, plus one, minus the packets: a duplicate hides a loss, and the
  number can be negative.
- Telephone events have no clock: they leave the jitter as it is, and the next packet is compared with the arrival of
  the last event but the timestamp of the last packet before the events.
- A clock of 44,100 or 11,025 Hz is taken as 44 or 11 ticks per ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, Bool
from earwitness.trace.model import Trace
from earwitness.trace.payload_types import COMFORT_NOISE
from earwitness.trace.roles import event_types
from earwitness.trace.series import NAN
from earwitness.trace.timeline import Timeline, timeline


@dataclass(frozen=True)
class WiresharkFigures:
    """One line of `tshark -z rtp,streams`; ms. The minimum of delta or jitter is -1 where no packet counted.

    Jitter is NaN where the sender's numbering breaks (`timeline`): Wireshark's own figure then contains the break.
    """

    packets: int
    lost: int
    lost_percent: float
    min_delta_ms: float
    mean_delta_ms: float
    max_delta_ms: float
    min_jitter_ms: float
    mean_jitter_ms: float
    max_jitter_ms: float


def wireshark_figures(
    trace: Trace, capture_started_ns: int | None = None, breaks: Timeline | None = None
) -> WiresharkFigures:
    """The figures that Wireshark 4.0 gives for the packets of a trace that arrived, when it knows the RTP clock.

    `capture_started_ns` is the time of the capture's first packet, from which Wireshark counts. Without it the figures
    differ in their last bits, which matters if a printed digit is a rounding tie. `breaks`: the trace's timeline, if
    known.
    """
    here = trace.take(trace.arrived)
    n = len(here)
    if not n:
        return WiresharkFigures(0, 0, 0.0, -1.0, 0.0, 0.0, -1.0, 0.0, 0.0)
    expected = int(here.sequence[-1] - here.sequence[0]) + 1
    lost = expected - n
    # Packets timestamped before the first one (modulo 32 bits) affect nothing but the count.
    in_time = ((here.timestamp - here.timestamp[0]) & 0xFFFF_FFFF) < 0x8000_0000
    rows = np.flatnonzero(in_time)
    started = int(here.arrived_ns[0]) if capture_started_ns is None else capture_started_ns
    seconds, rest = np.divmod(here.arrived_ns[rows] - started, 1_000_000_000)
    milliseconds = seconds * 1000.0 + rest / 1e6
    delta = np.diff(milliseconds)
    nominal = (here.timestamp[rows] - here.timestamp[0]) / (here.clock_rate // 1000 or 1)
    clocked = ~_events(here)[rows]
    if not clocked.all():
        # An event leaves Wireshark's last nominal time as it is.
        nominal = nominal[np.maximum.accumulate(np.where(clocked, np.arange(len(rows)), 0))]
    deviation = np.abs(milliseconds[1:] - (milliseconds[:-1] + np.diff(nominal)))
    counted = deviation[clocked[1:]]
    smoothed = np.array(list(accumulate(counted.tolist(), lambda j, d: (15 * j + d) / 16, initial=0.0)))
    # An event leaves the estimate as it is.
    jitter = smoothed[1:] if clocked.all() else smoothed[np.cumsum(clocked[1:])]
    counts = _counts(here, rows)
    delta_low, delta_mean, delta_high = _figures(delta, counts, rows[1:])
    jitter_low, jitter_mean, jitter_high = _figures(jitter, counts & clocked[1:], rows[1:])
    found = timeline(here) if breaks is None else breaks
    if not found.whole and np.diff(found.part[rows]).any():
        # Wireshark takes a break of the sender's numbering for jitter; such a figure says nothing.
        jitter_low = jitter_mean = jitter_high = NAN
    percent = 100.0 * lost / expected if expected else 0.0
    return WiresharkFigures(n, lost, percent, delta_low, delta_mean, delta_high, jitter_low, jitter_mean, jitter_high)


def _events(here: Trace) -> Bool:
    """The telephone events among the packets, (n,)."""
    types = [number for number, encoding in here.formats.items() if encoding.name.lower() == "telephone-event"]
    return np.isin(here.payload_type, [*types, *event_types(here)])


def _counts(here: Trace, rows: NDArray[np.int64]) -> Bool:
    """Which packets after the first, among those in `rows`, enter the statistics: (len(rows) - 1,)."""
    noise = np.isin(here.payload_type, COMFORT_NOISE)
    after_noise = np.concatenate(([False], noise[:-1]))
    return np.asarray(~(here.marker | noise | after_noise)[rows[1:]])


def _figures(values: F64, counts: Bool, number: NDArray[np.int64]) -> tuple[float, float, float]:
    """Minimum, Wireshark's mean, and maximum; `number` is the number of packets before each."""
    chosen = values[counts]
    if not len(chosen):
        return -1.0, 0.0, 0.0
    mean = 0.0
    for value, before in zip(chosen.tolist(), number[counts].tolist(), strict=True):
        mean = (mean * (before - 1) + value) / before
    return float(chosen.min()), mean, max(0.0, float(chosen.max()))
