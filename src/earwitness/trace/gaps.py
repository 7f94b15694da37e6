"""Inter-packet gaps with and without the pauses of silence suppression, and delay spikes among them.

A phone that suppresses silence stops sending between talkspurts while its timestamps go on, and marks the first
packet after (RFC 3551 4.1). Such a pause is no delay: its length is the timestamps' step beyond what the step of the
sequence number explains, and taking it off leaves what the network did.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import F64, Bool
from earwitness.trace.model import Trace
from earwitness.trace.series import ArrivalSeries, arrivals, steps


def gaps_ms(trace: Trace | ArrivalSeries) -> F64:
    """Times between consecutive arrivals, ms, (n - 1,), pauses and all: the study's inter-arrival "delay"."""
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    return np.asarray(steps(here.arrived_ns) / 1e6)


def pauses_ms(trace: Trace | ArrivalSeries) -> F64:
    """The part of each gap in which the sender was silent on purpose, ms, (n - 1,); 0 within a talkspurt.

    Lost packets are no pause: the step of the sequence number accounts for them.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    silent = steps(here.timestamp) - steps(here.sequence) * here.packet_ticks
    # Half a packet of slack: some senders' timestamps are read from a clock and step unevenly.
    silent = np.where(silent * 2 > here.packet_ticks, silent, 0)
    silent[~here.advances[1:] | here.restarts[1:]] = 0
    return np.asarray(silent * (1e3 / here.clock_rate))


def gaps_without_pauses_ms(trace: Trace | ArrivalSeries) -> F64:
    """`gaps_ms` less `pauses_ms`, not below 0: (n - 1,).

    It is what a listener lacked: a lost or late packet lengthens it, the sender's silence does not.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    return np.maximum(gaps_ms(here) - pauses_ms(here), 0.0)


def excess_gaps_ms(trace: Trace | ArrivalSeries) -> F64:
    """Time between arrivals, less the time between the RTP timestamps, plus one ptime; ms, (k,).

    One ptime on a perfect path, whatever the sender's pauses and whatever was lost: only lateness lengthens it. Over
    packets that advance the sequence number, each against the one that advanced it before, so that reordered packets
    and duplicates do not count as gaps. Its maximum is our `gap_max_ms`.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    arrived, timestamp = here.arrived_ns[here.advances], here.timestamp[here.advances]
    excess = steps(arrived) / 1e6 - steps(timestamp) * (1e3 / here.clock_rate) + here.packet_ms
    return np.asarray(excess[~here.restarts[here.advances][1:]])


def spikes(gaps: F64, threshold_ms: float) -> Bool:
    """Which gaps (n,) are longer than a threshold: delay spikes."""
    return np.asarray(gaps > threshold_ms)
