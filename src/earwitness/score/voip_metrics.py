"""Bursts and gaps of lost and discarded packets, in the terms of RTCP XR's VoIP metrics. Source: RFC 3611 4.7.

RFC 3611 has two ways to them: 4.7.2 defines a burst, and Appendix A.2 gives an algorithm for phones. Here the
definition counts. The two differ by at most one burst: A.2 files a burst or an isolated loss only when the next one
begins, and begins as if a burst had just ended.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, Bool

RECEIVED, LOST, DISCARDED = 0, 1, 2
"""The fate of a packet: played, never arrived, or arrived but not played (too late, or the buffer was full)."""
GMIN = 16
"""Packets received in a row that end a burst (RFC 3611 4.7.2 recommends 16)."""


@dataclass(frozen=True)
class VoipMetrics:
    """Rates and densities are ratios, 0..1; durations are means in ms, 0 if there is no such period."""

    packets: int
    """Expected: received, lost and discarded."""
    loss_rate: float
    """Lost packets over all (4.7.1)."""
    discard_rate: float
    """Discarded packets over all."""
    burst_density: float
    """Share of the packets in bursts that were lost or discarded (4.7.2)."""
    gap_density: float
    """The same in gaps: isolated losses."""
    burst_duration_ms: float
    gap_duration_ms: float
    bursts: int
    gaps: int


def voip_metrics(fates: NDArray[np.integer], packet_ms: float, gmin: int = GMIN) -> VoipMetrics:
    """Count by the definition of RFC 3611 4.7.2, from the fate of each packet, (n,) in order of sequence.

    A burst begins and ends with a missing packet, has at least two of them, and never `gmin` received ones in a row.
    Gaps are the rest. Before the first and after the last packet `gmin` received ones are assumed. Raises `ValueError`
    for other fates.
    """
    missing = _missing(fates)
    count, packets = len(missing), len(fates)
    parted = np.flatnonzero(np.diff(missing) > gmin)
    first = missing[np.concatenate(([0], parted + 1))] if count else missing
    last = missing[np.concatenate((parted, [count - 1]))] if count else missing
    several = last > first
    burst_packets = int((last - first + 1)[several].sum())
    bursts, alone = int(several.sum()), int((~several).sum())
    edges = (int(first[several][0] > 0) + int(last[several][-1] < packets - 1)) if bursts else int(packets > 0)
    gaps = max(0, bursts - 1) + edges
    gap_packets = packets - burst_packets
    return VoipMetrics(
        packets=packets,
        loss_rate=_ratio(int(np.count_nonzero(fates == LOST)), packets),
        discard_rate=_ratio(int(np.count_nonzero(fates == DISCARDED)), packets),
        burst_density=_ratio(count - alone, burst_packets),
        gap_density=_ratio(alone, gap_packets),
        burst_duration_ms=_ratio(burst_packets, bursts) * packet_ms,
        gap_duration_ms=_ratio(gap_packets, gaps) * packet_ms,
        bursts=bursts,
        gaps=gaps,
    )


def burst_ratio_of(fates: NDArray[np.integer]) -> float:
    """ITU-T G.107 BurstR: mean length of runs of missing packets over that under random loss, 1 / (1 - ratio); 1 if
    none or all are missing."""
    missing = _missing(fates)
    if not len(missing) or len(missing) == len(fates):
        return 1.0
    runs = 1 + int(np.count_nonzero(np.diff(missing) > 1))
    return len(missing) / runs * (1.0 - len(missing) / len(fates))


def fates_of(sequence: I64, arrived: Bool, discarded: Bool, lost: I64) -> NDArray[np.int8]:
    """The fate of each packet in order of sequence, from (n,) extended sequence numbers in any order.

    `lost` (k - 1,): packets lost after each of the k distinct numbers but the last; the numbers alone do not tell. Of
    duplicates, the best fate counts.
    """
    order = np.argsort(sequence, kind="stable")
    fate = np.where(~arrived[order], LOST, np.where(discarded[order], DISCARDED, RECEIVED))
    # A received packet beats a discarded one, and that a lost one.
    rank = np.array([0, 2, 1])[fate]
    distinct, first = np.unique(sequence[order], return_index=True)
    if not len(distinct):
        return np.zeros(0, dtype=np.int8)
    places = np.concatenate(([0], np.cumsum(lost + 1)))
    found = np.full(int(places[-1]) + 1, LOST, dtype=np.int8)
    found[places] = np.array([RECEIVED, DISCARDED, LOST])[np.minimum.reduceat(rank, first)]
    return found


def _missing(fates: NDArray[np.integer]) -> NDArray[np.intp]:
    if fates.ndim != 1 or (len(fates) and not (int(fates.min()) >= RECEIVED and int(fates.max()) <= DISCARDED)):
        raise ValueError("fates are a row of 0 (received), 1 (lost) and 2 (discarded)")
    return np.flatnonzero(fates)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
