"""Loss, duplication and reordering, determined from sequence numbers (RFC 3550 A.3, RFC 4737, RFC 7680)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.trace.model import Trace
from earwitness.trace.series import NAN, ArrivalSeries, arrivals, runs
from earwitness.trace.steps import steps


@dataclass(frozen=True)
class Loss:
    """How many of the sent packets arrived.

    `expected` counts distinct packets: all known to be sent (a trace with lost rows), otherwise those between the
    lowest and highest sequence number seen; losses before the first and after the last arrival are then unknown.
    """

    expected: int
    received: int
    """Distinct packets that arrived."""
    duplicates: int
    """Arrivals of packets that had arrived before."""
    reordered: int
    """Distinct packets with a lower sequence number than one that arrived before (RFC 4737 type-P-reordered)."""
    reordering_extent_max: int
    """Largest distance of a reordered packet behind the first arrival that it should have preceded, in arrivals
    (RFC 4737 4.2)."""
    restarts: int
    """Restarts of the sender's numbering; the jump is not loss."""
    longest_burst: int
    """Most consecutive packets lost."""
    burst_ratio: float
    """ITU-T G.107 BurstR: mean length of loss bursts over that under random loss, 1 / (1 - ratio); 1 without loss."""

    @property
    def lost(self) -> int:
        """Distinct packets that did not arrive."""
        return self.expected - self.received

    @property
    def ratio(self) -> float:
        """Lost over expected (RFC 7680); NaN if nothing was expected."""
        return self.lost / self.expected if self.expected else NAN


def loss(trace: Trace, here: ArrivalSeries | None = None) -> Loss:
    """Count received, duplicate, reordered and missing packets."""
    here = arrivals(trace) if here is None else here
    sequence = here.sequence
    # On the joined timeline, a restart leaves no hole.
    behind = np.flatnonzero(~here.advances)
    reordered = duplicates = extent = 0
    received = len(sequence) - len(behind)
    if len(behind):
        _, first = np.unique(sequence, return_index=True)
        new = np.zeros(len(sequence), dtype=bool)
        new[first] = True
        late = behind[new[behind]]
        received, reordered, duplicates = int(new.sum()), len(late), len(sequence) - int(new.sum())
        if len(late):
            # The first arrival with a higher number: the running maximum is sorted, so use binary search.
            highest = np.maximum.accumulate(sequence)
            extent = int((late - np.searchsorted(highest, sequence[late], side="right")).max())

    gone = np.sort(trace.sequence[~trace.arrived]) if len(here) < len(trace) else np.zeros(0, dtype=np.int64)
    if len(gone):
        distinct = np.unique(trace.sequence)
        expected = len(distinct)
        lengths = runs(~np.isin(distinct, trace.sequence[trace.arrived]))
    elif len(sequence):
        apart = steps(np.unique(sequence) if len(behind) else sequence)
        lengths = apart[apart > 1] - 1
        expected = received + int(lengths.sum())
    else:
        expected, lengths = 0, np.zeros(0, dtype=np.int64)
    missing = expected - received
    ratio = 1.0 if not missing or missing == expected else float(lengths.mean()) * (1 - missing / expected)
    return Loss(
        expected=expected,
        received=received,
        duplicates=duplicates,
        reordered=reordered,
        reordering_extent_max=extent,
        restarts=here.timeline.restarts,
        longest_burst=int(lengths.max()) if len(lengths) else 0,
        burst_ratio=ratio,
    )
