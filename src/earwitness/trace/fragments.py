"""IP fragments (RFC 791 3.2, RFC 8200 4.5) put together again, over the pieces of a file, in bounded memory.

A datagram's time is that of the fragment that completed it. Fragments that overlap are refused, as RFC 5722 requires:
which of them a host would believe cannot be known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from earwitness.trace.ip import transport
from earwitness.trace.rebuilt import COMPLETE, FIRST_ALONE, WITH_A_HOLE, Packet, Rebuilt
from earwitness.trace.walk import Cursor, Fragments, Walk

MOST_WAITING = 16_384
"""Datagrams waited for at once, more than a piece of a file begins; beyond them the oldest is given up."""
MOST_WAITING_BYTES = 32 * 2**20
_OVERHEAD = 300
"""Bytes that a fragment costs besides its own."""
_MOST_DONE = 64
_MOST_PARTS = 128
"""A datagram of the largest size cut for the smallest usual network (576 bytes) has 119 parts."""
_MOST_DATAGRAM = 65_535
_TIMEOUT_NS = 30_000_000_000
"""A host gives up after 30 to 60 s; the identification may then mean another datagram."""
INCOMPLETE = "first fragments of datagrams of which others are missing"
MISSING = "fragments of datagrams whose first fragment is missing; skipped"
OVERLAPPING = "fragments that overlap or contradict others of their datagram; skipped"

_Key = tuple[bytes, int, int]


@dataclass
class _Waiting:
    """A datagram of which fragments have come: by offset, their captured bytes and length on the wire."""

    time_ns: int
    record: int
    protocol: int
    parts: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    total: int = -1
    covered: int = 0
    furthest: int = 0
    held: int = 0
    carrier_incomplete: bool = False
    """Whether a fragment lay in a packet of which bytes are missing."""

    def content(self) -> tuple[bytes, int]:
        """The bytes from the first on as far as all were captured, and the length on the wire."""
        whole = bytearray()
        for offset in sorted(self.parts):
            if offset == len(whole):
                whole += self.parts[offset][0]
        # What follows a beginning is not known; the header of what it carries tells its length.
        return bytes(whole), self.total if self.total >= 0 else _MOST_DATAGRAM

    def made(self) -> int:
        """How the packet was made, as in `rebuilt`."""
        if self.covered == self.total:
            return FIRST_ALONE if self.carrier_incomplete else COMPLETE
        return WITH_A_HOLE if len(self.parts) > 1 else FIRST_ALONE

    def outdated_by(self, time_ns: int, offset: int, data: bytes, length: int) -> bool:
        """Whether a fragment belongs to a later datagram under the same number."""
        begins_anew = offset == 0 and self.parts.get(0, (data, length)) != (data, length)
        return begins_anew or abs(time_ns - self.time_ns) > _TIMEOUT_NS


@dataclass
class Reassembler:
    """Fragments of one file that wait for others, oldest first. Mutable."""

    short: Counter[str]
    waiting: dict[_Key, _Waiting] = field(default_factory=dict)
    done: dict[_Key, dict[int, tuple[bytes, int]]] = field(default_factory=dict)
    """The parts of the latest complete datagrams: a mirror port delivers everything twice."""
    held: int = 0

    def add(self, walk: Walk, rebuilt: Rebuilt, found: Fragments) -> Iterator[tuple[bytes, Packet]]:
        """The datagrams that these fragments complete, with their addresses."""
        cursor = found.cursor
        columns = zip(
            cursor.row.tolist(),
            cursor.at.tolist(),
            np.maximum(np.minimum(cursor.captured, cursor.wire), 0).tolist(),
            cursor.wire.tolist(),
            found.protocol.tolist(),
            found.identification.tolist(),
            found.offset.tolist(),
            found.more.tolist(),
            strict=True,
        )
        for i, (row, at, captured, wire, protocol, identification, offset, more) in enumerate(columns):
            ends = found.addresses[i].tobytes()
            # IPv6 does not tell datagrams apart by protocol: only the first fragment's is meant.
            key = (ends, identification, protocol if len(ends) == 8 else -1)
            time_ns, record = rebuilt.when(row)
            if offset + wire > _MOST_DATAGRAM + 40 or wire <= 0:
                self.short["fragments with an impossible length; skipped"] += 1
                continue
            data = walk.data[at : at + captured].tobytes()
            before = self.waiting.get(key)
            if before is None and self.done.get(key, {}).get(offset) == (data, wire):
                continue
            if before is not None and before.outdated_by(time_ns, offset, data, wire):
                yield from self._give_up(key)
                before = None
            entry = before or self.waiting.setdefault(key, _Waiting(time_ns, record, protocol))
            if not self._take(entry, data, wire, offset, more):
                continue
            entry.carrier_incomplete |= rebuilt.incomplete(row)
            if offset == 0:
                entry.protocol = protocol
            if entry.covered == entry.total:
                entry.time_ns, entry.record = time_ns, record
                del self.waiting[key]
                self.held -= entry.held
                self._remember(key, entry)
                yield ends, _packet(entry)
            while len(self.waiting) > MOST_WAITING or self.held > MOST_WAITING_BYTES:
                yield from self._give_up(next(iter(self.waiting)))

    def rest(self) -> Iterator[tuple[bytes, Packet]]:
        """At the end of the file: the beginnings of incomplete datagrams."""
        for key in list(self.waiting):
            yield from self._give_up(key)

    def _take(self, entry: _Waiting, data: bytes, wire: int, offset: int, more: bool) -> bool:
        """Add one fragment to its datagram, unless it repeats or contradicts the others."""
        end = offset + wire
        if entry.parts.get(offset) == (data, wire):
            return False
        after = offset >= entry.furthest
        overlaps = not after and any(at < end and offset < at + length for at, (_, length) in entry.parts.items())
        if (
            overlaps
            or len(entry.parts) == _MOST_PARTS
            or (entry.total >= 0 and (end > entry.total or not more))
            or (not more and entry.furthest > end)
        ):
            self.short[OVERLAPPING] += 1
            return False
        entry.parts[offset] = (data, wire)
        entry.covered += wire
        entry.furthest = max(entry.furthest, end)
        entry.held += len(data) + _OVERHEAD
        self.held += len(data) + _OVERHEAD
        if not more:
            entry.total = end
        return True

    def _give_up(self, key: _Key) -> Iterator[tuple[bytes, Packet]]:
        entry = self.waiting.pop(key)
        self.held -= entry.held
        if 0 in entry.parts:
            self.short[INCOMPLETE] += 1
            yield key[0], _packet(entry)
        else:
            self.short[MISSING] += len(entry.parts)

    def _remember(self, key: _Key, entry: _Waiting) -> None:
        self.done.pop(key, None)
        self.done[key] = entry.parts
        if len(self.done) > _MOST_DONE:
            del self.done[next(iter(self.done))]


def _packet(entry: _Waiting) -> Packet:
    data, length = entry.content()
    return Packet(data, max(length, len(data)), entry.time_ns, entry.record, entry.protocol, entry.made())


def reassemble(walk: Walk, rebuilt: Rebuilt, waiting: Reassembler, *, last: bool) -> bool:
    """Put the walk's fragments together and continue with what is complete; whether there was any."""
    complete: list[tuple[bytes, Packet]] = []
    found, walk.fragments = walk.fragments, []
    for fragments in found:
        complete += waiting.add(walk, rebuilt, fragments)
    if last:
        complete += waiting.rest()
    for size in (8, 32):
        family = [(ends, packet) for ends, packet in complete if len(ends) == size]
        if family:
            cursor: Cursor = rebuilt.append(walk, [packet for _, packet in family])
            addresses = np.frombuffer(b"".join(ends for ends, _ in family), dtype=np.uint8).reshape(-1, size)
            protocol = np.array([packet.protocol for _, packet in family], dtype=np.int64)
            transport(walk, cursor, addresses, protocol)
    return bool(complete)
