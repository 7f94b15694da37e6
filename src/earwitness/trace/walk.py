"""What the layers of a capture share: where each packet's next header begins, and what is still to be read.

All packets of a piece advance together, wave by wave: a wave reads one header of every packet, with all packets that
have the same kind of header read at once. The number of waves is bounded, so nested carriers cost a bounded time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8, Bool

MOST_WAVES = 20
"""Headers of carriers read per packet, IP headers among them: six carriers of Ethernet within each other."""
TOO_DEEP = "packets with carriers nested too deeply; skipped"


@dataclass
class Cursor:
    """Where the next header of each packet begins, and the remaining bytes captured and on the wire. Mutable, local."""

    row: I64
    at: I64
    captured: I64
    wire: I64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: NDArray[Any]) -> Cursor:
        """Only the packets selected by an index or boolean array."""
        return Cursor(self.row[chosen], self.at[chosen], self.captured[chosen], self.wire[chosen])

    def only(self, chosen: Bool) -> Cursor:
        """As `take`, without a copy if all are chosen."""
        rows = chosen.nonzero()[0]
        return self if len(rows) == len(chosen) else self.take(rows)

    def skip(self, width: NDArray[Any] | int) -> Cursor:
        """Advance past a header of this width: one width for all packets, or one each."""
        return Cursor(self.row, self.at + width, self.captured - width, self.wire - width)

    def within(self, length: I64) -> Cursor:
        """With at most `length` bytes left, (n,): the rest of the packet is no part of what follows."""
        return Cursor(self.row, self.at, np.minimum(self.captured, length), np.minimum(self.wire, length))


def joined(cursors: list[Cursor]) -> Cursor:
    """Several cursors as one."""
    if len(cursors) == 1:
        return cursors[0]
    names = ("row", "at", "captured", "wire")
    return Cursor(*(np.concatenate([getattr(cursor, name) for cursor in cursors]) for name in names))


def long_enough(cursor: Cursor, width: NDArray[Any] | int, what: str, short: Counter[str]) -> Cursor:
    """Only the packets with `width` more bytes captured; the others are counted under `what`."""
    enough = cursor.captured >= width
    if enough.all():
        return cursor
    short[what] += int(len(enough) - enough.sum())
    return cursor.take(enough)


class Layer(Enum):
    """A kind of header that can come next."""

    BSD_HOST_ORDER = auto()
    BSD_NETWORK_ORDER = auto()
    COOKED = auto()
    COOKED_2 = auto()
    ETHERNET = auto()
    ETHERIP = auto()
    GRE = auto()
    HDLC = auto()
    IP = auto()
    IPV4 = auto()
    IPV6 = auto()
    L2TP_3 = auto()
    LLC = auto()
    MPLS = auto()
    PPI = auto()
    PPP = auto()
    PPPOE = auto()
    RADIOTAP = auto()
    WIFI = auto()


@dataclass
class DatagramRows:
    """Datagrams of one address family found in one wave, before all are merged in capture order.

    `addresses` (n, 8 or 32): source and destination as bytes; `ports` (n,): the source's in the upper 16 bits.
    """

    cursor: Cursor
    addresses: NDArray[Any]
    ports: NDArray[Any]
    depth: int = 0
    transport: str = "UDP"

    def only(self, chosen: Bool) -> DatagramRows:
        """As `take`, without a copy if all are chosen."""
        rows = chosen.nonzero()[0]
        return self if len(rows) == len(chosen) else self.take(rows)

    def take(self, rows: I64) -> DatagramRows:
        """Only the datagrams in these rows, in their order."""
        addresses = self.addresses.take(rows, axis=0)
        return DatagramRows(self.cursor.take(rows), addresses, self.ports[rows], self.depth, self.transport)


@dataclass
class Segments:
    """TCP segments with a payload or SYN of one address family; `sequence` (n,) int64, `starts` (n,): SYN."""

    cursor: Cursor
    addresses: NDArray[Any]
    ports: NDArray[Any]
    sequence: I64
    starts: Bool


@dataclass
class Fragments:
    """IP fragments of one address family, their payloads at the cursor; `more` (n,): not the last of its datagram."""

    cursor: Cursor
    addresses: NDArray[Any]
    protocol: I64
    identification: I64
    offset: I64
    more: Bool


@dataclass
class Walk:
    """One piece of a capture on its way down the layers. Mutable.

    `short`: packets whose headers do not fit, by what is wrong; `unread`: packets of carriers that are recognised but
    not read, by name; `other`: packets of everything else that carries no datagram, by name.
    """

    data: U8
    short: Counter[str]
    unread: Counter[str]
    other: Counter[str]
    wave: int = 0
    pending: dict[Layer, list[Cursor]] = field(default_factory=dict)
    parts: list[DatagramRows] = field(default_factory=list)
    segments: list[Segments] = field(default_factory=list)
    fragments: list[Fragments] = field(default_factory=list)

    def push(self, layer: Layer, cursor: Cursor) -> None:
        """Packets whose next header is of this kind, to be read in the next wave."""
        if len(cursor):
            self.pending.setdefault(layer, []).append(cursor)

    def split(self, layer: Layer, cursor: Cursor, chosen: Bool) -> None:
        """Push the chosen packets."""
        if chosen.any():
            self.push(layer, cursor.only(chosen))

    def name(self, counts: Counter[str], numbers: NDArray[Any], names: dict[int, str], kind: str) -> None:
        """Count packets under the name of their protocol number (n,), or `kind` and the number in hexadecimal."""
        if len(numbers):
            times = np.bincount(numbers)
            for number in np.flatnonzero(times).tolist():
                counts[names.get(number) or f"{kind} 0x{number:04x}"] += int(times[number])
