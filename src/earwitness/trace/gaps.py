"""Inter-packet gaps with and without the pauses of silence suppression, and delay spikes among them.

A phone that suppresses silence stops sending between talkspurts while its timestamps advance, and marks the next packet
(RFC 3551 4.1). Such a pause is not delay: its length is the part of the timestamp step that the sequence number step
does not explain. Subtracting it leaves the effect of the network.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import F64, Bool
from earwitness.trace.model import Trace
from earwitness.trace.series import ArrivalSeries, arrivals
from earwitness.trace.steps import steps


def gaps_ms(trace: Trace | ArrivalSeries) -> F64:
    """Times between consecutive arrivals, ms, (n - 1,), including pauses: the study's inter-arrival "delay"."""
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    return np.asarray(steps(here.arrived_ns) / 1e6)


def pauses_ms(trace: Trace | ArrivalSeries) -> F64:
    """The part of each gap in which the sender was deliberately silent, ms, (n - 1,); 0 within a talkspurt.

    Lost packets are not a pause: the step of the sequence number accounts for them.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    pauses = np.zeros(max(len(here) - 1, 0))
    counted = here.counted
    if len(counted) < 2:
        return pauses
    each = counted.packet_ticks if counted.ticks_around is None else counted.ticks_around[1:]
    silent = steps(counted.timestamp) - steps(counted.sequence) * each
    # Half a packet of tolerance: some senders read timestamps from a clock, so the steps are uneven.
    silent = np.where(silent * 2 > each, silent, 0)
    silent[~counted.advances[1:]] = 0
    silent = silent * (1e3 / here.clock_rate)
    if counted is here:
        return np.asarray(silent)
    # The pause ends with the packet that resumes speech.
    pauses[np.flatnonzero(here.counts)[1:] - 1] = silent
    return pauses


def gaps_without_pauses_ms(trace: Trace | ArrivalSeries) -> F64:
    """`gaps_ms` minus `pauses_ms`, at least 0: (n - 1,).

    This is what the listener missed: a lost or late packet lengthens it, the sender's silence does not.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    return np.maximum(gaps_ms(here) - pauses_ms(here), 0.0)


def excess_gaps_ms(trace: Trace | ArrivalSeries) -> F64:
    """Time between arrivals, minus the time between the RTP timestamps, plus one ptime; ms, (k,).

    One ptime on a perfect path, regardless of pauses and losses: only lateness lengthens it. Considers only packets
    that advance the sequence number, each compared with the previous one that did, so reordered packets and duplicates
    do not count as gaps. Its maximum is the column `gap_max_ms`.
    """
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    forward = here.advances & here.counts
    here = here if forward.all() else here.take(forward)
    gap, step = steps(here.arrived_ns) / 1e6, steps(here.timestamp) * (1e3 / here.clock_rate)
    least = here.packet_ms if here.ticks_around is None else here.ticks_around[1:] * (1e3 / here.clock_rate)
    excess = gap - np.maximum(step, least) + here.packet_ms
    return np.asarray(excess if here.timeline.whole else excess[~here.broken])


def spikes(gaps: F64, threshold_ms: float) -> Bool:
    """Which gaps (n,) are longer than a threshold: delay spikes."""
    return np.asarray(gaps > threshold_ms)
