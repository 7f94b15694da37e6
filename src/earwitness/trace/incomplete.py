"""Packets of which fragments or segments are missing: those that did not arrive, and those that were not captured.

No receiver gets a datagram without all its fragments. But a capture filter on ports drops the later fragments of all,
because they have no ports, and these datagrams did arrive. The other datagrams of the flow tell one from the other.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.rebuilt import AS_CAPTURED, COMPLETE, WITH_A_HOLE

NOT_CAPTURED = "the lack of their later fragments"
"""`Payloads.cut_by` of packets of which the capture has the first fragments alone."""


def not_arrived(found: Datagrams, rows: I64) -> Bool:
    """Which of the datagrams at `rows` (n,) are incomplete in a flow of which the capture has later parts."""
    made, flow = found.made[rows], found.flow[rows]
    cut = (made < AS_CAPTURED) & (found.captured[rows] < found.length[rows])
    if not cut.any():
        return cut
    seen = np.zeros(len(found.flows), dtype=bool)
    seen[flow[(made == COMPLETE) | (made == WITH_A_HOLE)]] = True
    return np.asarray(cut & seen[flow])


def first_alone(found: Datagrams, members: I64) -> int:
    """Of how many of a stream's datagrams, those that count as received, later fragments were not captured."""
    made = found.made[members]
    if made.min(initial=AS_CAPTURED) >= AS_CAPTURED:
        return 0
    return int(np.count_nonzero((made < AS_CAPTURED) & (found.captured[members] < found.length[members])))


def said_of_those_missing(count: int) -> str:
    """A note on packets that did not arrive whole."""
    return (
        f"{count} packets count as not received: fragments or TCP segments of them are missing, which the capture has"
        " of others"
    )


def said_of_those_cut(count: int) -> str:
    """A note on packets whose first fragments alone were captured."""
    return (
        f"{count} packets came in fragments, of which the capture has only the first, as with a capture filter on"
        " ports: they count as received, and are cut"
    )


def counted(sources: I64) -> Counter[int]:
    """How many packets each source (n,) has."""
    values, counts = np.unique(sources, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
