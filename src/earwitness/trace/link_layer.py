"""From captured packets to UDP datagrams, for a whole capture at once: link layers, VLAN tags, IPv4 and IPv6.

Each step tracks, for every packet, where the next header begins and how many of its bytes were captured. A packet that
a step cannot parse is dropped and counted. Link types are tcpdump.org's LINKTYPE_ numbers, protocols IANA's.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I32, I64, U8, Bool
from earwitness.trace.bytewindow import big_endian, codes, window
from earwitness.trace.ip import Cursor, long_enough, udp_over_ipv4, udp_over_ipv6
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import Records

_ETHERNET, _SLL, _SLL2 = 1, 113, 276
_NULL, _LOOP = 0, 108
_RAW = (12, 14, 101, 228, 229)
_HEADERS = {_ETHERNET: (14, 12), _SLL: (16, 14), _SLL2: (20, 0)}
"""Header length, and the offset of the protocol number in it."""
_KNOWN = (*_RAW, _NULL, _LOOP, *_HEADERS)
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = (0x8100, 0x88A8, 0x9100, 0x9200)
_LOOPBACK_IPV6 = (10, 24, 28, 30)
"""AF_INET6 on Linux, NetBSD/OpenBSD, FreeBSD, macOS; AF_INET is 2 on all of them."""
_MAX_TAGS = 4
MOST_FLOWS = 65_536
"""UDP flows distinguished per file; a capture of ten thousand calls has fewer."""
_TOO_MANY = f"packets of flows beyond the first {MOST_FLOWS}; skipped"
_MAX_DATAGRAM = 2**24


@dataclass(frozen=True)
class Flow:
    """One direction of a UDP conversation."""

    source: str
    source_port: int
    destination: str
    destination_port: int

    def __str__(self) -> str:
        return f"{self.source}:{self.source_port} > {self.destination}:{self.destination_port}"


@dataclass(frozen=True, eq=False)
class Datagrams:
    """UDP datagrams in capture order; arrays of shape (n,).

    - The payload of datagram i is `data[start[i] : start[i] + captured[i]]`; `length` is its size on the wire.
    - `flow`: index into `flows`. `record`: the packet's number in the capture, from 0.
    """

    data: U8
    start: I64
    captured: I32
    length: I32
    time_ns: I64
    flow: I32
    record: I64
    flows: tuple[Flow, ...]
    problems: tuple[CaptureProblem, ...]

    def __len__(self) -> int:
        return len(self.start)


Wanted = Callable[[U8, I64, I64], Bool]
"""Selects the payloads to keep, given the file's bytes and each payload's start and captured length, (n,)."""


@dataclass
class Followed:
    """State carried from piece to piece of one file: its flows, and counts of what was skipped. Mutable."""

    flows: list[Flow] = field(default_factory=list)
    number: dict[bytes, int] = field(default_factory=dict)
    """A flow's index in `flows`, keyed by its addresses and ports as bytes."""
    short: Counter[str] = field(default_factory=Counter)
    unsupported: Counter[int] = field(default_factory=Counter)
    """Packets per unsupported link type."""

    def problems(self) -> tuple[CaptureProblem, ...]:
        """What was skipped, with counts."""
        found = []
        if self.unsupported:
            most = sorted(self.unsupported, key=lambda number: (-self.unsupported[number], number))[:3]
            named = ", ".join(map(str, most)) + (" and more" if len(self.unsupported) > 3 else "")
            count = self.unsupported.total()
            detail = f"{count} packets of unsupported link type {named}; skipped"
            found.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
        for what, count in self.short.items():
            kind = ProblemKind.FRAGMENTED if "fragment" in what else ProblemKind.BAD_LENGTH
            found.append(CaptureProblem(ProblemKind.UNSUPPORTED if what == _TOO_MANY else kind, f"{count} {what}"))
        return tuple(found)


def datagrams(records: Records) -> Datagrams:
    """The UDP datagrams among the packets of a capture. Never raises; skipped packets are counted in `problems`."""
    followed = Followed()
    found = follow(records, followed)
    return replace(found, flows=tuple(followed.flows), problems=followed.problems())


def follow(records: Records, followed: Followed, wanted: Wanted | None = None) -> Datagrams:
    """As `datagrams`, for one piece of a file, keeping only `wanted` payloads; flows and problems go into `followed`.

    `record` counts from the first packet of the piece.
    """
    short = followed.short
    begin = Cursor(
        np.arange(len(records), dtype=np.int64),
        records.start,
        records.captured.astype(np.int64),
        records.length,
    )
    version_4: list[Cursor] = []
    version_6: list[Cursor] = []
    link_type = _link_types(records)
    one = len(set(records.link_types)) == 1
    for known in _KNOWN:
        if one and known not in records.link_types:
            continue
        cursor = begin if one else begin.take(link_type == known)
        if len(cursor.row):
            four, six = _network(records.data, cursor, known, short)
            version_4.append(four)
            version_6.append(six)
    others = link_type[~np.isin(link_type, _KNOWN)]
    if len(others):
        numbers, counts = np.unique(others, return_counts=True)
        followed.unsupported.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))

    stacks = [(cursor, udp_over_ipv4) for cursor in version_4] + [(cursor, udp_over_ipv6) for cursor in version_6]
    parts = [
        _udp(records.data, *past_ip(records.data, cursor, short), short)
        for cursor, past_ip in stacks
        if len(cursor.row)
    ]
    if wanted is not None:
        parts = [part.take(wanted(records.data, part.cursor.at, part.cursor.captured)) for part in parts]
    return _joined(records, parts, followed)


def _link_types(records: Records) -> I64:
    """The link type of each packet."""
    if not len(records):
        return np.zeros(0, dtype=np.int64)
    return np.array(records.link_types, dtype=np.int64)[records.interface]


def _network(data: U8, cursor: Cursor, link_type: int, short: Counter[str]) -> tuple[Cursor, Cursor]:
    """Skip a supported link layer header: the IPv4 and the IPv6 packets."""
    if link_type in _RAW:
        return _by_version(data, cursor, short)
    if link_type in (_NULL, _LOOP):
        cursor = long_enough(cursor, 4, "packets too short for their link header; skipped", short)
        family = big_endian(window(data, cursor.at, 4), 0, 4)
        if link_type == _NULL:
            # Written in the capturing machine's byte order; address families are small numbers.
            family = np.where(family > 0xFFFF, family.byteswap(), family)
        cursor = cursor.skip(4)
        return cursor.take(family == 2), cursor.take(np.isin(family, _LOOPBACK_IPV6))
    width, protocol_at = _HEADERS[link_type]
    cursor = long_enough(cursor, width, "packets too short for their link header; skipped", short)
    protocol = big_endian(window(data, cursor.at, width), protocol_at, 2)
    cursor = cursor.skip(width)
    for _ in range(_MAX_TAGS):
        tagged = np.isin(protocol, _VLAN) & (cursor.captured >= 4)
        if not tagged.any():
            break
        protocol = np.where(tagged, big_endian(window(data, cursor.at, 4), 2, 2), protocol)
        cursor = cursor.skip(np.where(tagged, 4, 0))
    return cursor.take(protocol == _IPV4), cursor.take(protocol == _IPV6)


def _by_version(data: U8, cursor: Cursor, short: Counter[str]) -> tuple[Cursor, Cursor]:
    """Raw IP: the first four bits are the version."""
    cursor = long_enough(cursor, 1, "empty packets; skipped", short)
    version = window(data, cursor.at, 1)[:, 0] >> 4
    return cursor.take(version == 4), cursor.take(version == 6)


@dataclass
class _Part:
    """Datagrams of one address family, before they are merged in capture order."""

    cursor: Cursor
    addresses: NDArray[Any]
    ports: NDArray[Any]

    def take(self, chosen: Bool) -> _Part:
        """Only the selected datagrams."""
        if chosen.all():
            return self
        return _Part(self.cursor.take(chosen), self.addresses[chosen], self.ports[chosen])


def _udp(data: U8, cursor: Cursor, addresses: NDArray[Any], short: Counter[str]) -> _Part:
    """Skip UDP headers (RFC 768)."""
    enough = cursor.captured >= 8
    if not enough.all():
        short["packets too short for a UDP header; skipped"] += int(len(enough) - enough.sum())
        cursor, addresses = cursor.take(enough), addresses[enough]
    fields = window(data, cursor.at, 8)
    length = big_endian(fields, 4, 2).astype(np.int64)
    length = np.where(length == 0, cursor.wire, length)
    good = length >= 8
    if not good.all():
        short["packets with a UDP length under 8; skipped"] += int(len(good) - good.sum())
        cursor, addresses, fields, length = cursor.take(good), addresses[good], fields[good], length[good]
    # A UDP length beyond the IP packet means a first fragment or corruption: IP bounds what can be there.
    bounded = Cursor(cursor.row, cursor.at, np.minimum(cursor.captured, length), np.minimum(cursor.wire, length))
    return _Part(bounded.skip(8), addresses, big_endian(fields, 0, 4))


def _joined(records: Records, parts: list[_Part], followed: Followed) -> Datagrams:
    """All parts in capture order, with numbered flows."""
    numbered: list[I32] = []
    for i, part in enumerate(parts):
        number, firsts = _flow_numbers(part)
        numbers = _known_flows(part, firsts, followed)[number]
        beyond = numbers < 0
        if beyond.any():
            followed.short[_TOO_MANY] += int(beyond.sum())
            parts[i], numbers = part.take(~beyond), numbers[~beyond]
        numbered.append(numbers)
    empty = np.zeros(0, dtype=np.int64)
    row, start, captured, wire = (
        np.concatenate([getattr(part.cursor, name) for part in parts]) if parts else empty
        for name in ("row", "at", "captured", "wire")
    )
    flow_of = np.concatenate(numbered) if numbered else empty.astype(np.int32)
    if len(parts) > 1:
        order = np.argsort(row, kind="stable")
        row, start, captured, wire = row[order], start[order], captured[order], wire[order]
        flow_of = flow_of[order]
    return Datagrams(
        data=records.data,
        start=start,
        captured=captured.astype(np.int32),
        length=np.minimum(wire, _MAX_DATAGRAM).astype(np.int32),
        time_ns=records.time_ns[row],
        flow=flow_of,
        record=row,
        flows=(),
        problems=(),
    )


def _known_flows(part: _Part, firsts: I64, followed: Followed) -> I32:
    """The file-wide number of each flow of a part, given by its first row: (k,); -1 past the limit."""
    half = part.addresses.shape[1] // 2
    numbers = np.zeros(len(firsts), dtype=np.int32)
    ports = part.ports[firsts].tolist()
    for i, (address, both) in enumerate(zip(part.addresses[firsts], ports, strict=True)):
        ends = address.tobytes()
        key = ends + both.to_bytes(4, "big")
        number = followed.number.get(key, -1)
        if number < 0 and len(followed.flows) < MOST_FLOWS:
            source, destination = (str(ipaddress.ip_address(end)) for end in (ends[:half], ends[half:]))
            number = followed.number[key] = len(followed.flows)
            followed.flows.append(Flow(source, both >> 16, destination, both & 0xFFFF))
        numbers[i] = number
    return numbers


def _flow_numbers(part: _Part) -> tuple[I32, I64]:
    """The flow of each datagram, numbered from 0, and the first row of each flow."""
    number, distinct = codes(part.ports)
    count = len(distinct)
    for column in range(0, part.addresses.shape[1], 8):
        word, distinct = codes(part.addresses[:, column : column + 8].copy().view(np.uint64)[:, 0])
        both = number.astype(np.int64) * len(distinct) + word
        if count * len(distinct) > 65_536:
            number, _ = codes(both)
            count = int(number.max()) + 1 if len(number) else 0
        else:
            used = np.bincount(both, minlength=count * len(distinct)) > 0
            number = (np.cumsum(used, dtype=np.int32) - 1)[both]
            count = int(used.sum())
    first = np.zeros(count, dtype=np.int64)
    rows = np.arange(len(number))[::-1]
    first[number[rows]] = rows
    return number, first
