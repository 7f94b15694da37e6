"""Packets that no single record of a capture holds: put together from fragments, or cut out of a TCP stream.

They get rows after those of the records, and their bytes are put after the file's, so that whatever reads a packet need
not know where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from earwitness.arrays import I8, I64
from earwitness.trace.records import Records
from earwitness.trace.walk import Cursor, Walk

AS_CAPTURED, COMPLETE, FIRST_ALONE, WITH_A_HOLE = 0, 1, -1, -2
"""A packet is that of a single record or whole in a stream; or put together from all its fragments; or the first of
them, the only one captured; or others of them were captured too, but not all, or a TCP stream lacks a part of it.
Below 0, bytes are missing that no snap length cut."""


@dataclass(frozen=True)
class Packet:
    """Bytes captured, length on the wire, the time and the file's packet number of what completed it, IP protocol."""

    data: bytes
    length: int
    time_ns: int
    record: int
    protocol: int = 0
    made: int = AS_CAPTURED
    """How it was made of fragments or segments."""


@dataclass
class Rebuilt:
    """The rows of one piece: its records, `first` packets into the file, and what was rebuilt in it. Mutable."""

    records: Records
    first: int
    times: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    made: list[int] = field(default_factory=list)

    def when(self, row: int) -> tuple[int, int]:
        """The time of a row, and the number in the file of its packet."""
        count = len(self.records)
        if row < count:
            return int(self.records.time_ns[row]), self.first + row
        return self.times[row - count], self.numbers[row - count]

    def incomplete(self, row: int) -> bool:
        """Whether a row's packet is a part of what was sent."""
        count = len(self.records)
        return row >= count and self.made[row - count] < AS_CAPTURED

    def append(self, walk: Walk, packets: list[Packet]) -> Cursor:
        """Give packets rows and put their bytes after the walk's: where each begins."""
        count = len(self.records) + len(self.times)
        sizes = np.array([len(packet.data) for packet in packets], dtype=np.int64)
        at = len(walk.data) + np.cumsum(sizes) - sizes
        content = np.frombuffer(b"".join(packet.data for packet in packets), dtype=np.uint8)
        walk.data = np.concatenate([walk.data, content])
        self.times += [packet.time_ns for packet in packets]
        self.numbers += [packet.record for packet in packets]
        self.made += [packet.made for packet in packets]
        length = np.array([packet.length for packet in packets], dtype=np.int64)
        return Cursor(np.arange(count, count + len(packets), dtype=np.int64), at, sizes, length)

    def made_of(self, rows: I64) -> I8:
        """How the packets of rows (n,) were made."""
        made = np.zeros(len(self.records) + len(self.made), dtype=np.int8)
        made[len(self.records) :] = self.made
        return made[rows]

    def of_rows(self, rows: I64) -> tuple[I64, I64]:
        """The times of rows (n,), and the packets' numbers counted from the first of the piece."""
        if not self.times:
            return self.records.time_ns[rows], rows
        times = np.concatenate([self.records.time_ns, np.array(self.times, dtype=np.int64)])
        numbers = np.array(self.numbers, dtype=np.int64) - self.first
        return times[rows], np.concatenate([np.arange(len(self.records)), numbers])[rows]
