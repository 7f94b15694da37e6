"""Restores packets from ULPFEC (RFC 5109) and FlexFEC (RFC 8627), at the time when a receiver can."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from earwitness.trace.model import Trace
from earwitness.trace.redundancy import RedBlocks, Repair, parse_flexfec, parse_ulpfec, rows_of_role
from earwitness.trace.rtp import HEADER_BYTES, MalformedPacket, RtpPacket

_NEVER = int(np.iinfo(np.int64).max)
_MOST_ROUNDS = 8
"""A restored packet may let another be restored, as in two-dimensional FEC."""
_LONGEST_EXTENSION = 256
"""Bytes between RTP header and payload in which the header is looked for."""
_FIXED = struct.Struct(">BBHII")


@dataclass
class Added:
    """Packets recovered so far: a row each, in lists. Mutable, local."""

    sequence: list[int] = field(default_factory=list)
    timestamp: list[int] = field(default_factory=list)
    payload_type: list[int] = field(default_factory=list)
    marker: list[bool] = field(default_factory=list)
    arrived_ns: list[int] = field(default_factory=list)
    place: list[float] = field(default_factory=list)
    """Where in the order of arrival: just before the row whose arrival completed it."""
    payload: list[bytes] = field(default_factory=list)


Located = tuple[Repair, int, int, float]
"""A FEC packet, the extended sequence number of its base, its arrival, and its place in the order of arrival."""


def _parser(name: str) -> Callable[[bytes], Repair] | None:
    """What reads the packets of this encoding."""
    if name.lower() == "ulpfec":
        return parse_ulpfec
    if name.lower() == "flexfec":
        return parse_flexfec
    return (lambda payload: parse_flexfec(payload, draft=True)) if name.lower() == "flexfec-03" else None


def _near(number: int, bits: int, known: int) -> int:
    """The extended value nearest to a known one whose lowest bits are these."""
    half = 1 << (bits - 1)
    return known + ((number - known + half) & (2 * half - 1)) - half


def _parsed(trace: Trace, payloads: Iterator[tuple[int, int, bytes]], notes: list[str]) -> Iterator[tuple[int, Repair]]:
    """The FEC packets among (row, payload type, payload), with their rows."""
    malformed, unread = 0, 0
    for row, number, payload in payloads:
        parse = _parser(trace.formats[number].name)
        if parse is None:
            unread += 1
            continue
        try:
            yield row, parse(payload)
        except MalformedPacket:
            malformed += 1
    if malformed:
        notes.append(f"{malformed} FEC packets are malformed; not used")
    if unread:
        notes.append(f"{unread} repair packets of a kind that is not read")


def repairs_within(plain: Trace, blocks: RedBlocks, notes: list[str]) -> Iterator[Located]:
    """The FEC packets in the trace itself: of their own payload type, or blocks in RED."""
    payloads, formats = plain.payloads, plain.formats
    assert payloads is not None
    kinds = [number for number, meaning in formats.items() if meaning.role == "repair"]
    inside = blocks.take((blocks.age > 0) & (blocks.captured == blocks.size) & np.isin(blocks.payload_type, kinds))
    data = payloads.data

    def all_of_them() -> Iterator[tuple[int, int, bytes]]:
        for row in np.flatnonzero(np.isin(plain.payload_type, kinds) & plain.arrived).tolist():
            if payloads.captured[row] == plain.size[row]:
                yield row, int(plain.payload_type[row]), payloads[row]
        for row, number, start, size in zip(
            inside.row.tolist(), inside.payload_type.tolist(), inside.start.tolist(), inside.size.tolist(), strict=True
        ):
            if plain.arrived[row]:
                yield row, number, data[start : start + size].tobytes()

    for row, repair in _parsed(plain, all_of_them(), notes):
        base = _near(repair.base, 16, int(plain.sequence[row]))
        yield repair, base, int(plain.arrived_ns[row]), row - 0.5


def repairs_beside(plain: Trace, repair: Trace, notes: list[str]) -> Iterator[Located]:
    """The FEC packets of a stream of their own."""
    payloads = repair.payloads
    if payloads is None or not bool(plain.arrived.any()):
        return
    rows = np.flatnonzero(plain.arrived)
    times, highest = plain.arrived_ns[rows], np.maximum.accumulate(plain.sequence[rows])

    def all_of_them() -> Iterator[tuple[int, int, bytes]]:
        for row in rows_of_role(repair, "repair").tolist():
            if repair.arrived[row] and payloads.captured[row] == repair.size[row]:
                yield row, int(repair.payload_type[row]), payloads[row]

    for row, one in _parsed(repair, all_of_them(), notes):
        arrived = int(repair.arrived_ns[row])
        at = int(np.searchsorted(times, arrived, side="right"))
        yield one, _near(one.base, 16, int(highest[max(at - 1, 0)])), arrived, at - 0.5


class Restoring:
    """Restores packets from FEC, one trace's."""

    def __init__(self, original: Trace, plain: Trace, added: Added, notes: list[str]) -> None:
        self._original, self._plain, self._added, self._notes = original, plain, added, notes
        self._first: dict[int, tuple[int, int]] = {}
        """Of each sequence number: its first arrival, and its row (past the trace: among those added)."""
        self._whole: dict[int, bytes | None] = {}
        self._types = set(plain.formats) | set(np.unique(plain.payload_type).tolist())
        self._bare = 0

    def all(self, repairs: list[Located]) -> tuple[int, int]:
        """Restore what can be restored: how many lost packets, and how many that came later."""
        if not repairs:
            return 0, 0
        plain, added = self._plain, self._added
        kinds = [number for number, meaning in plain.formats.items() if meaning.role in ("repair", "redundancy")]
        media = np.flatnonzero(plain.arrived & ~np.isin(plain.payload_type, kinds))
        columns = (plain.sequence[media].tolist(), plain.arrived_ns[media].tolist(), media.tolist())
        for number, arrived, row in zip(*columns, strict=True):
            if number not in self._first or arrived < self._first[number][0]:
                self._first[number] = (arrived, row)
        for i, (number, arrived) in enumerate(zip(added.sequence, added.arrived_ns, strict=True)):
            if number not in self._first or arrived < self._first[number][0]:
                self._first[number] = (arrived, len(plain) + i)
        known = sorted(self._first)
        if not known:
            return 0, 0
        lost = early = 0
        for _ in range(_MOST_ROUNDS):
            left = len(repairs)
            again: list[Located] = []
            for one in repairs:
                missing, complete = self._missing(one)
                if missing is None:
                    continue
                was = self._first.get(missing)
                if complete == _NEVER or not self._restore(one, missing, complete, known):
                    again.append(one)
                elif was is None:
                    lost += 1
                else:
                    early += 1
            repairs = again
            if not repairs or len(repairs) == left:
                break
        if self._bare:
            self._notes.append(
                f"{self._bare} packets were restored from FEC on the assumption that RTP headers had no extensions"
            )
        return lost, early

    def _missing(self, one: Located) -> tuple[int | None, int]:
        """The packet that this FEC packet can restore, None if it arrived in time, and when all else was there."""
        repair, base, when, _ = one
        last, complete, missing = -1, when, None
        for member in repair.members:
            arrived = self._first.get(base + member, (_NEVER, -1))[0]
            if arrived > last:
                complete = max(complete, last)
                last, missing = arrived, base + member
            else:
                complete = max(complete, arrived)
        return (missing, complete) if last > complete or complete == _NEVER else (None, complete)

    def _restore(self, one: Located, missing: int, complete: int, known: list[int]) -> bool:
        """Restore one packet, if it is plausible."""
        repair, base, _, place = one
        plain, added = self._plain, self._added
        if missing < known[0] or repair.ssrc not in (None, plain.ssrc):
            return False
        others: dict[int, bytes] = {}
        for member in repair.members:
            number = base + member
            if number != missing:
                whole = self._packet(number)
                if whole is None:
                    return False
                others[member] = whole
                place = max(place, self._first[number][1] - 0.5) if self._first[number][1] < len(plain) else place
        try:
            found = repair.restored(missing & 0xFFFF, plain.ssrc & 0xFFFFFFFF, others)
        except MalformedPacket:
            return False
        nearest = min((base + member for member in repair.members if base + member != missing), default=known[0],
                      key=lambda number: abs(number - missing))  # fmt: skip
        timestamp = self._plausible(found, missing, nearest)
        if timestamp is None:
            return False
        self._first[missing] = (complete, len(plain) + len(added.sequence))
        added.sequence.append(missing)
        added.timestamp.append(timestamp)
        added.payload_type.append(found.payload_type)
        added.marker.append(found.marker)
        added.arrived_ns.append(complete)
        added.place.append(place)
        added.payload.append(found.payload)
        return True

    def _plausible(self, found: RtpPacket, missing: int, nearest: int) -> int | None:
        """The extended timestamp of a restored packet; None if it or the payload type cannot be right."""
        near = self._time_of(nearest) if nearest in self._first else None
        if near is None:
            return None
        timestamp = _near(found.timestamp, 32, near)
        # At most a second a packet: the exclusive-or of wrong packets gives any 32 bits.
        if abs(timestamp - near) > self._plain.clock_rate * abs(missing - nearest):
            return None
        if (timestamp - near) * (missing - nearest) < 0:
            return None
        return timestamp if found.payload_type in self._types else None

    def _time_of(self, number: int) -> int:
        row = self._first[number][1]
        n = len(self._plain)
        return int(self._plain.timestamp[row]) if row < n else self._added.timestamp[row - n]

    def _packet(self, number: int) -> bytes | None:
        """The whole RTP packet of a sequence number as it is protected; None if it was cut or is not here."""
        if number not in self._whole:
            if number not in self._first:
                return None
            self._whole[number] = self._rebuilt(self._first[number][1])
        return self._whole[number]

    def _rebuilt(self, row: int) -> bytes | None:
        plain, added, n = self._plain, self._added, len(self._plain)
        if row >= n:
            i = row - n
            return self._headed(
                added.marker[i],
                added.payload_type[i],
                added.sequence[i],
                added.timestamp[i],
                0x80,
                b"",
                added.payload[i],
            )
        assert plain.payloads is not None
        if plain.payloads.captured[row] < plain.size[row]:
            return None
        between = _between(self._original, row)
        if between is None:
            self._bare += 1
        first, extra = between or (0x80, b"")
        if first & 0x20:
            return None  # padding is protected too, and a trace does not have it
        return self._headed(
            bool(plain.marker[row]),
            int(plain.payload_type[row]),
            int(plain.sequence[row]),
            int(plain.timestamp[row]),
            first,
            extra,
            plain.payloads[row],
        )

    def _headed(
        self, marker: bool, payload_type: int, sequence: int, timestamp: int, first: int, extra: bytes, payload: bytes
    ) -> bytes:
        second = (0x80 if marker else 0) | payload_type
        ssrc = self._plain.ssrc & 0xFFFFFFFF
        return _FIXED.pack(first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + extra + payload


def _between(trace: Trace, row: int) -> tuple[int, bytes] | None:
    """The first byte of a packet's RTP header, and the bytes between fixed header and payload (CSRCs, extension).

    A trace has payloads only, but in a capture the header lies before each in the same buffer. None if it does not.
    """
    assert trace.payloads is not None
    start = int(trace.payloads.start[row])
    data = trace.payloads.data
    rest = (int(trace.sequence[row]) & 0xFFFF, int(trace.timestamp[row]) & 0xFFFFFFFF, trace.ssrc & 0xFFFFFFFF)
    for extra in range(0, min(_LONGEST_EXTENSION, start - HEADER_BYTES) + 1, 4):
        at = start - HEADER_BYTES - extra
        first, second, *fields = _FIXED.unpack(data[at : at + HEADER_BYTES].tobytes())
        if tuple(fields) == rest and second & 0x7F == trace.payload_type[row] and first >> 6 == 2:
            return first, data[at + HEADER_BYTES : start].tobytes()
    return None
