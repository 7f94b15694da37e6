"""Bursts: packets that arrive together because a byte stream held them back and then released them.

Tor relays and TCP deliver voice packets in clumps: most arrive in bursts of 2 to 5 over Tor, singly over plain UDP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import F64, I64
from earwitness.trace.model import Trace
from earwitness.trace.series import ArrivalSeries, arrivals
from earwitness.trace.steps import steps

WITHIN_MS = 3.0
"""Packets closer than this to the previous one belong to its burst: far below a ptime, far above back-to-back
spacing."""


@dataclass(frozen=True)
class Bursts:
    """The bursts of a stream, in order; (b,) each."""

    sizes: I64
    """Packets in each burst."""
    gaps_ms: F64
    """From the last packet of a burst to the first of the next, (b - 1,)."""

    def shares(self) -> tuple[float, float, float, float, float]:
        """The share of packets that arrived in bursts of 1, 2, 3, 4, and 5 or more; they sum to 1."""
        total = int(self.sizes.sum())
        if not total:
            nothing = float("nan")
            return (nothing, nothing, nothing, nothing, nothing)
        packets = np.bincount(np.minimum(self.sizes, 5), weights=self.sizes, minlength=6) / total
        one, two, three, four, more = packets[1:6].tolist()
        return (one, two, three, four, more)


def bursts(trace: Trace | ArrivalSeries, within_ms: float = WITHIN_MS) -> Bursts:
    """Split the arrivals wherever two consecutive ones are more than `within_ms` apart."""
    here = arrivals(trace) if isinstance(trace, Trace) else trace
    if not len(here):
        return Bursts(np.zeros(0, dtype=np.int64), np.zeros(0))
    gaps = steps(here.arrived_ns)
    first = np.concatenate(([0], np.flatnonzero(gaps > within_ms * 1e6) + 1, [len(here)]))
    return Bursts(steps(first), gaps[first[1:-1] - 1] / 1e6)
