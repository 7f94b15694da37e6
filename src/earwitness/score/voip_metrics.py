"""Bursts and gaps of lost and discarded packets, in the terms of RTCP XR's VoIP metrics. Source: RFC 3611 4.7.

RFC 3611 has two ways to them. Section 4.7.2 defines a burst; `voip_metrics` counts by that definition. Appendix A.2
gives an algorithm that phones run packet by packet; `transitions` gives what it counts. They differ by at most one
burst: A.2 files a burst or an isolated loss only when the next one begins, and begins as if a burst had just ended.
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
MAX_DROPOUT = 3000
"""A larger step of the sequence number is a jump of the sender's numbering, not loss (RFC 3550 A.1)."""
UNAVAILABLE = 127
"""A rating that is not known, in a report block (RFC 3611 4.7.5)."""
_MOST_MS = 65535


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

    def block(self) -> dict[str, int]:
        """The fields as a report block has them: ratios times 256, at most 255; whole ms."""
        parts = {
            "loss_rate": self.loss_rate,
            "discard_rate": self.discard_rate,
            "burst_density": self.burst_density,
            "gap_density": self.gap_density,
        }
        times = {"burst_duration": self.burst_duration_ms, "gap_duration": self.gap_duration_ms}
        return {
            **{name: min(255, int(256.0 * ratio)) for name, ratio in parts.items()},
            **{name: min(_MOST_MS, int(milliseconds)) for name, milliseconds in times.items()},
        }


@dataclass(frozen=True)
class Transitions:
    """What the algorithm of RFC 3611 Appendix A.2 counts.

    States: 1 received in a gap, 2 received in a burst, 3 missing in a burst, 4 missing alone in a gap. `c13` counts
    steps from 1 to 3, and so on; c31 = c13 and c32 = c23.
    """

    c11: int
    c13: int
    c14: int
    c22: int
    c23: int
    c33: int
    lost: int
    discarded: int

    @property
    def total(self) -> int:
        """ctotal."""
        return self.c11 + self.c14 + 2 * self.c13 + self.c22 + 2 * self.c23 + self.c33

    def metrics(self, packet_ms: float) -> VoipMetrics | None:
        """The figures that A.2 derives; None before the first burst, where it divides by zero."""
        if not self.c13:
            return None
        p32 = self.c23 / (self.c13 + self.c23 + self.c33)
        p23 = 1.0 if self.c22 + self.c23 < 1 else 1.0 - self.c22 / (self.c22 + self.c23)
        in_gaps = self.c11 + self.c14
        gap_ms = (in_gaps + self.c13) * packet_ms / self.c13
        return VoipMetrics(
            packets=self.total,
            loss_rate=self.lost / self.total,
            discard_rate=self.discarded / self.total,
            burst_density=p23 / (p23 + p32),
            gap_density=self.c14 / in_gaps if in_gaps else 0.0,
            burst_duration_ms=self.total * packet_ms / self.c13 - gap_ms,
            gap_duration_ms=gap_ms,
            bursts=self.c13,
            gaps=self.c13,
        )


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


def transitions(fates: NDArray[np.integer], gmin: int = GMIN) -> Transitions:
    """What RFC 3611 Appendix A.2 counts when it is run over these packets. Raises `ValueError` for other fates."""
    missing = _missing(fates)
    received = np.diff(missing, prepend=-1) - 1  # "pkt": received since the last missing one, at each missing one
    begins = received >= gmin
    at = np.flatnonzero(begins)
    before = np.diff(at, prepend=0)  # "lost": how many are missing in the group that ended there
    inside = received[~begins]
    return Transitions(
        c11=int(received[begins].sum()),
        c13=int(np.count_nonzero(before != 1)),
        c14=int(np.count_nonzero(before == 1)),
        c22=int((inside[inside > 0] - 1).sum()),
        c23=int(np.count_nonzero(inside > 0)),
        c33=int(np.count_nonzero(inside == 0)),
        lost=int(np.count_nonzero(fates == LOST)),
        discarded=int(np.count_nonzero(fates == DISCARDED)),
    )


def burst_ratio_of(fates: NDArray[np.integer]) -> float:
    """ITU-T G.107 BurstR: mean length of runs of missing packets over that under random loss, 1 / (1 - ratio); 1 if
    none or all are missing."""
    missing = _missing(fates)
    if not len(missing) or len(missing) == len(fates):
        return 1.0
    runs = 1 + int(np.count_nonzero(np.diff(missing) > 1))
    return len(missing) / runs * (1.0 - len(missing) / len(fates))


def fates_of(sequence: I64, arrived: Bool, discarded: Bool) -> NDArray[np.int8]:
    """The fate of each packet in order of sequence, from (n,) extended sequence numbers in any order.

    Numbers missing between two that are there are lost packets; a step of more than `MAX_DROPOUT` is a jump of the
    numbering. Of duplicates, the best fate counts.
    """
    order = np.argsort(sequence, kind="stable")
    numbers = sequence[order]
    fate = np.where(~arrived[order], LOST, np.where(discarded[order], DISCARDED, RECEIVED))
    # A received packet beats a discarded one, and that a lost one.
    rank = np.array([0, 2, 1])[fate]
    distinct, first = np.unique(numbers, return_index=True)
    best = np.array([RECEIVED, DISCARDED, LOST])[np.minimum.reduceat(rank, first)] if len(first) else fate
    steps = np.diff(distinct, prepend=distinct[:1] - 1)
    steps[steps > MAX_DROPOUT] = 1
    places = np.cumsum(steps) - 1
    found = np.full(int(places[-1]) + 1 if len(places) else 0, LOST, dtype=np.int8)
    found[places] = best
    return found


def _missing(fates: NDArray[np.integer]) -> NDArray[np.intp]:
    if fates.ndim != 1 or (len(fates) and not (int(fates.min()) >= RECEIVED and int(fates.max()) <= DISCARDED)):
        raise ValueError("fates are a row of 0 (received), 1 (lost) and 2 (discarded)")
    return np.flatnonzero(fates)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
