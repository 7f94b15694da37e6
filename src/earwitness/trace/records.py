"""`Records`: where each packet of a capture is stored, when it was captured, and on which link layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import I32, I64, U8
from earwitness.trace.problem import CaptureProblem

MAX_PACKET = 262_144
"""Longest possible packet (libpcap's MAXIMUM_SNAPLEN); a record that claims more is corrupt."""


@dataclass(frozen=True, eq=False)
class Records:
    """The packets of a capture file, in file order; arrays of shape (n,).

    - `data`: the file's bytes, (size,) uint8; packet i is `data[start[i] : start[i] + captured[i]]`.
    - `captured`, `length`: bytes captured, and bytes on the wire.
    - `time_ns`: nanoseconds since the epoch of the capturing clock.
    - `interface`: index into `link_types` (LINKTYPE_ numbers of tcpdump.org, one per interface).
    - `resolution_ns`: the coarsest time unit of any interface.
    - `complete`: whether these are all packets of the file, or those of one piece of it (then `data` is that piece).
    """

    data: U8
    start: I64
    captured: I32
    length: I64
    time_ns: I64
    interface: I32
    link_types: tuple[int, ...]
    resolution_ns: float
    format: str
    problems: tuple[CaptureProblem, ...]
    complete: bool = True

    def __len__(self) -> int:
        return len(self.start)


def no_records(format_name: str, link_types: tuple[int, ...], resolution_ns: float) -> Records:
    """The empty end of a capture."""
    none = np.zeros(0, dtype=np.int64)
    nothing, few = np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int32)
    return Records(nothing, none, few, none, none, few, link_types, resolution_ns, format_name, (), complete=False)
