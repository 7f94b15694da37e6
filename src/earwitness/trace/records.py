"""`Records`: where each packet of a capture lies, when it was seen, and on which link layer."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.arrays import I32, I64, U8
from earwitness.trace.problem import CaptureProblem

MAX_PACKET = 262_144
"""No packet is longer than this (libpcap's MAXIMUM_SNAPLEN): a record that claims more is a lie."""


@dataclass(frozen=True, eq=False)
class Records:
    """The packets of a capture file, in the file's order; arrays of shape (n,).

    - `data`: the file's bytes, (size,) uint8; packet i is `data[start[i] : start[i] + captured[i]]`.
    - `captured`, `length`: bytes kept, and bytes on the wire.
    - `time_ns`: nanoseconds since the epoch of the capturing clock.
    - `interface`: index into `link_types` (LINKTYPE_ numbers of tcpdump.org, one an interface).
    - `resolution_ns`: the coarsest time unit among the interfaces.
    - `complete`: whether these are all packets of the file; else those of one piece of it, which is in `data`.
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
