"""Timing summary of one received RTP stream: the timing columns of a data set row, and more.

Each figure summarises a series from the module that defines it: `jitter`, `gaps`, `bursts`, `loss`, `delay`.
Clock drift between the two ends is included in jitter and delay variation: 50 ppm is 1.5 ms in 30 s.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.arrays import F64
from earwitness.trace import bursts as burst_series
from earwitness.trace import gaps as gap_series
from earwitness.trace.delay import NO_DELAY, DelayStatistics, delay_statistics, delay_variation_ms, one_way_delay_ms
from earwitness.trace.jitter import jitter_ms, last_jitter_units
from earwitness.trace.loss import loss
from earwitness.trace.model import Trace
from earwitness.trace.series import NAN, ArrivalSeries, arrivals, mean_and_deviation, quantiles

SPIKE_MS = 150.0
"""The study's delay spike threshold."""


@dataclass(frozen=True)
class Timing:
    """The timing figures of one stream; units are in the names, NaN if there is no data."""

    packets_expected: int
    packets_received: int
    packets_lost: int
    packets_duplicate: int
    packets_reordered: int
    reordering_extent_max: int
    sequence_restarts: int
    timestamp_jumps: int
    """Leaps of the RTP timestamps that no time explains; in no figure of delay or jitter."""
    holds: int
    """Times at which the sender and its timestamps stood still, counted as pauses."""
    held_s: float
    loss_ratio: float
    loss_burst_longest: int
    burst_ratio: float
    """ITU-T G.107 BurstR of the losses, for the E-model."""
    duration_s: float
    """First to last arrival."""
    clock_rate: int
    packet_ms: float
    """ptime as the timestamps step."""
    talkspurts: int
    """Stretches between pauses of silence suppression, at least 1 if anything arrived."""
    pauses_total_s: float
    jitter_mean_ms: float
    jitter_median_ms: float
    jitter_p95_ms: float
    jitter_max_ms: float
    jitter_range_ms: float
    """Maximum less minimum: as the estimate is 0 at the first packet, the maximum of any stream that arrived."""
    jitter_iqr_ms: float
    jitter_std_dev_ms: float
    jitter_final_units: int
    """RFC 3550 A.8 in RTP timestamp units after the last packet: the value in a final report."""
    gap_mean_ms: float
    """Between consecutive arrivals, pauses included."""
    gap_max_with_pauses_ms: float
    gap_max_without_pauses_ms: float
    """The same minus the sender's pauses; lost packets count."""
    gap_max_ms: float
    """Largest time between arrivals in excess of that between timestamps, plus one ptime: lateness alone."""
    spike_threshold_ms: float
    spikes_with_pauses: int
    spikes_without_pauses: int
    pdv_basis: str
    """`sent` (sending times known) or `timestamp` (sender assumed to keep to its RTP clock)."""
    pdv_p50_ms: float
    pdv_p95_ms: float
    pdv_p99_ms: float
    pdv_max_ms: float
    bursts: int
    burst_within_ms: float
    burst_share_1: float
    """Share of packets that arrived alone; below, in bursts of 2, 3, 4, and 5 or more."""
    burst_share_2: float
    burst_share_3: float
    burst_share_4: float
    burst_share_5_or_more: float
    burst_gap_p50_ms: float
    """From the last packet of a burst to the first of the next."""
    burst_gap_p95_ms: float
    owd_min_ms: float
    """One-way delay, if one clock stamped both ends."""
    owd_mean_ms: float
    owd_p50_ms: float
    owd_p95_ms: float
    owd_p99_ms: float
    owd_max_ms: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, in field order."""
        return dataclasses.asdict(self)


def summarise(
    trace: Trace,
    *,
    spike_threshold_ms: float = SPIKE_MS,
    burst_within_ms: float = burst_series.WITHIN_MS,
    series: ArrivalSeries | None = None,
) -> Timing:
    """All timing figures of one stream. Accepts any trace, including an empty one. `series`: its arrivals, if known."""
    here = arrivals(trace) if series is None else series
    counts = loss(trace, here)
    jitter = jitter_ms(here)
    least, lower, median, upper, jitter_p95, jitter_max = quantiles(jitter, 0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
    mean, deviation = mean_and_deviation(jitter)
    gaps = gap_series.gaps_ms(here)
    pauses = gap_series.pauses_ms(here)
    without = np.maximum(gaps - pauses, 0.0)
    excess = gap_series.excess_gaps_ms(here)
    groups = burst_series.bursts(here, burst_within_ms)
    shares = groups.shares()
    burst_gap_p50, burst_gap_p95 = quantiles(groups.gaps_ms, 0.5, 0.95)
    basis = "sent" if trace.sending_times_known else "timestamp"
    pdv = delay_statistics(delay_variation_ms(trace, here))
    duration_s = float(here.arrived_ns[-1] - here.arrived_ns[0]) / 1e9 if len(here) else 0.0
    delay: DelayStatistics = delay_statistics(one_way_delay_ms(trace)) if trace.one_clock else NO_DELAY
    return Timing(
        packets_expected=counts.expected,
        packets_received=counts.received,
        packets_lost=counts.lost,
        packets_duplicate=counts.duplicates,
        packets_reordered=counts.reordered,
        reordering_extent_max=counts.reordering_extent_max,
        sequence_restarts=counts.restarts,
        timestamp_jumps=here.timeline.jumps,
        holds=here.timeline.holds,
        held_s=here.timeline.hold_ns / 1e9,
        loss_ratio=counts.ratio,
        loss_burst_longest=counts.longest_burst,
        burst_ratio=counts.burst_ratio,
        duration_s=duration_s,
        clock_rate=trace.clock_rate,
        packet_ms=here.packet_ms,
        talkspurts=int(np.count_nonzero(pauses)) + 1 if len(here) else 0,
        pauses_total_s=min(float(pauses.sum()) / 1e3, duration_s),
        jitter_mean_ms=mean,
        jitter_median_ms=median,
        jitter_p95_ms=jitter_p95,
        jitter_max_ms=jitter_max,
        jitter_range_ms=jitter_max - least,
        jitter_iqr_ms=upper - lower,
        jitter_std_dev_ms=deviation,
        jitter_final_units=last_jitter_units(here, jitter),
        gap_mean_ms=float(gaps.mean()) if len(gaps) else NAN,
        gap_max_with_pauses_ms=_most(gaps),
        gap_max_without_pauses_ms=_most(without),
        gap_max_ms=_most(excess),
        spike_threshold_ms=spike_threshold_ms,
        spikes_with_pauses=int(np.count_nonzero(gap_series.spikes(gaps, spike_threshold_ms))),
        spikes_without_pauses=int(np.count_nonzero(gap_series.spikes(without, spike_threshold_ms))),
        pdv_basis=basis,
        pdv_p50_ms=pdv.p50_ms,
        pdv_p95_ms=pdv.p95_ms,
        pdv_p99_ms=pdv.p99_ms,
        pdv_max_ms=pdv.max_ms,
        bursts=len(groups.sizes),
        burst_within_ms=burst_within_ms,
        burst_share_1=shares[0],
        burst_share_2=shares[1],
        burst_share_3=shares[2],
        burst_share_4=shares[3],
        burst_share_5_or_more=shares[4],
        burst_gap_p50_ms=burst_gap_p50,
        burst_gap_p95_ms=burst_gap_p95,
        owd_min_ms=delay.min_ms,
        owd_mean_ms=delay.mean_ms,
        owd_p50_ms=delay.p50_ms,
        owd_p95_ms=delay.p95_ms,
        owd_p99_ms=delay.p99_ms,
        owd_max_ms=delay.max_ms,
    )


def _most(values: F64) -> float:
    """The maximum, or NaN if there are no values."""
    return float(values.max()) if len(values) else NAN
