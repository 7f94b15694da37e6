"""From captured packets to UDP datagrams, all of a capture at once: link layers, VLAN tags, IPv4 and IPv6.

Each step keeps, for every packet, where the next header begins and how many bytes of it were captured; a packet
that a step cannot follow leaves with a count. Numbers are tcpdump.org's LINKTYPE_ and IANA's.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.trace.bytewindow import big_endian, codes, window
from earwitness.trace.model import I32, I64, U8
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import Records

_ETHERNET, _SLL, _SLL2 = 1, 113, 276
_NULL, _LOOP = 0, 108
_RAW = {12, 14, 101, 228, 229}
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = (0x8100, 0x88A8, 0x9100, 0x9200)
_LOOPBACK_IPV6 = (10, 24, 28, 30)
"""AF_INET6 of Linux, NetBSD/OpenBSD, FreeBSD, macOS; AF_INET is 2 everywhere."""
_UDP, _FRAGMENT, _AUTHENTICATION = 17, 44, 51
_EXTENSIONS = (0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140)
_MAX_EXTENSIONS = 8
_MAX_TAGS = 4
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
    """UDP datagrams in the capture's order; arrays of shape (n,).

    - datagram i's payload is `data[start[i] : start[i] + captured[i]]`; `length` is what was on the wire.
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


@dataclass
class _Cursor:
    """Where the next header of each packet begins, and the bytes left: captured and on the wire. Mutable, local."""

    row: I64
    at: I64
    captured: I64
    wire: I64

    def take(self, chosen: NDArray[Any]) -> _Cursor:
        return _Cursor(self.row[chosen], self.at[chosen], self.captured[chosen], self.wire[chosen])

    def skip(self, width: NDArray[Any] | int) -> _Cursor:
        return _Cursor(self.row, self.at + width, self.captured - width, self.wire - width)


def datagrams(records: Records) -> Datagrams:
    """The UDP datagrams among the packets of a capture. Never raises; what is left out is counted in `problems`."""
    problems: list[CaptureProblem] = []
    short: Counter[str] = Counter()
    begin = _Cursor(
        np.arange(len(records), dtype=np.int64),
        records.start,
        records.captured.astype(np.int64),
        records.length,
    )
    version_4: list[_Cursor] = []
    version_6: list[_Cursor] = []
    for link_type in sorted(set(records.link_types)):
        numbers = [i for i, known in enumerate(records.link_types) if known == link_type]
        every = len(numbers) == len(records.link_types)
        cursor = begin if every else begin.take(np.isin(records.interface, numbers))
        if not len(cursor.row):
            continue
        packets = _network(records.data, cursor, link_type, short)
        if packets is None:
            detail = f"{len(cursor.row)} packets of link type {link_type}, which is not read; left out"
            problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
            continue
        version_4.append(packets[0])
        version_6.append(packets[1])

    stacks = [(cursor, _ipv4) for cursor in version_4] + [(cursor, _ipv6) for cursor in version_6]
    parts = [
        _udp(records.data, *past_ip(records.data, cursor, short), short)
        for cursor, past_ip in stacks
        if len(cursor.row)
    ]
    for what, count in short.items():
        kind = ProblemKind.FRAGMENTED if "fragment" in what else ProblemKind.BAD_LENGTH
        problems.append(CaptureProblem(kind, f"{count} {what}"))
    return _joined(records, parts, tuple(problems))


def _network(data: U8, cursor: _Cursor, link_type: int, short: Counter[str]) -> tuple[_Cursor, _Cursor] | None:
    """Past the link layer: the packets of IPv4 and of IPv6; None where the link layer is not known."""
    if link_type in _RAW:
        return _by_version(data, cursor, short)
    if link_type in (_NULL, _LOOP):
        cursor = _long_enough(cursor, 4, "packets too short for their link header; left out", short)
        family = big_endian(window(data, cursor.at, 4), 0, 4)
        if link_type == _NULL:
            # Written in the byte order of the machine that captured; families are small numbers.
            family = np.where(family > 0xFFFF, family.byteswap(), family)
        cursor = cursor.skip(4)
        return cursor.take(family == 2), cursor.take(np.isin(family, _LOOPBACK_IPV6))
    sizes = {_ETHERNET: (14, 12), _SLL: (16, 14), _SLL2: (20, 0)}
    if link_type not in sizes:
        return None
    width, protocol_at = sizes[link_type]
    cursor = _long_enough(cursor, width, "packets too short for their link header; left out", short)
    protocol = big_endian(window(data, cursor.at, width), protocol_at, 2)
    cursor = cursor.skip(width)
    for _ in range(_MAX_TAGS):
        tagged = np.isin(protocol, _VLAN) & (cursor.captured >= 4)
        if not tagged.any():
            break
        protocol = np.where(tagged, big_endian(window(data, cursor.at, 4), 2, 2), protocol)
        cursor = cursor.skip(np.where(tagged, 4, 0))
    return cursor.take(protocol == _IPV4), cursor.take(protocol == _IPV6)


def _by_version(data: U8, cursor: _Cursor, short: Counter[str]) -> tuple[_Cursor, _Cursor]:
    """Raw IP: the first four bits tell the version."""
    cursor = _long_enough(cursor, 1, "empty packets; left out", short)
    version = window(data, cursor.at, 1)[:, 0] >> 4
    return cursor.take(version == 4), cursor.take(version == 6)


def _long_enough(cursor: _Cursor, width: NDArray[Any] | int, what: str, short: Counter[str]) -> _Cursor:
    """Only the packets with `width` more bytes captured; the others are counted as `what`."""
    enough = cursor.captured >= width
    if enough.all():
        return cursor
    short[what] += int(len(enough) - enough.sum())
    return cursor.take(enough)


def _ipv4(data: U8, cursor: _Cursor, short: Counter[str]) -> tuple[_Cursor, NDArray[Any]]:
    """Past IPv4 headers (RFC 791): UDP packets only, and their addresses as bytes (n, 8)."""
    cursor = _long_enough(cursor, 20, "packets too short for an IPv4 header; left out", short)
    fields = window(data, cursor.at, 20)
    header = (fields[:, 0] & 0x0F).astype(np.int64) * 4
    total = big_endian(fields, 2, 2).astype(np.int64)
    # Captured before segmentation offload filled it in, a total length of 0 means: to the end of the packet.
    total = np.where(total == 0, cursor.wire, total)
    good = (fields[:, 0] >> 4 == 4) & (header >= 20) & (total >= header) & (cursor.captured >= header)
    if not good.all():
        short["packets with an IPv4 header that cannot be; left out"] += int(len(good) - good.sum())
    udp = good & (fields[:, 9] == _UDP)
    fragment = big_endian(fields, 6, 2)
    later = udp & ((fragment & 0x1FFF) != 0)
    first = udp & ((fragment & 0x3FFF) == 0x2000)
    if first.any():
        short["first fragments of datagrams; read as far as they go"] += int(first.sum())
    if later.any():
        short["later fragments of datagrams; left out"] += int(later.sum())
        udp &= ~later
    if not udp.all():
        cursor, fields, header, total = cursor.take(udp), fields[udp], header[udp], total[udp]
    bounded = _Cursor(cursor.row, cursor.at, np.minimum(cursor.captured, total), total)
    return bounded.skip(header), np.ascontiguousarray(fields[:, 12:20])


def _ipv6(data: U8, cursor: _Cursor, short: Counter[str]) -> tuple[_Cursor, NDArray[Any]]:
    """Past IPv6 headers and extension headers (RFC 8200): UDP packets only, and their addresses as bytes (n, 32)."""
    cursor = _long_enough(cursor, 40, "packets too short for an IPv6 header; left out", short)
    fields = window(data, cursor.at, 40)
    right = fields[:, 0] >> 4 == 6
    cursor, fields = cursor.take(right), fields[right]
    payload = big_endian(fields, 4, 2).astype(np.int64)
    payload = np.where(payload == 0, cursor.wire - 40, payload)
    following = fields[:, 6].astype(np.int64)
    addresses = np.ascontiguousarray(fields[:, 8:40])
    cursor = _Cursor(cursor.row, cursor.at + 40, np.minimum(cursor.captured - 40, payload), payload)
    for _ in range(_MAX_EXTENSIONS):
        extended = np.isin(following, _EXTENSIONS)
        if not extended.any():
            break
        held = ~extended | (cursor.captured >= 8)
        if not held.all():
            short["packets too short for an IPv6 extension header; left out"] += int(len(held) - held.sum())
            cursor, following, addresses, extended = cursor.take(held), following[held], addresses[held], extended[held]
        option = window(data, cursor.at, 4)
        length = (option[:, 1].astype(np.int64) + 1) * 8
        length = np.where(following == _AUTHENTICATION, (option[:, 1].astype(np.int64) + 2) * 4, length)
        fragment = extended & (following == _FRAGMENT)
        length = np.where(fragment, 8, length)
        position = big_endian(option, 2, 2)
        later = fragment & ((position >> 3) != 0)
        if later.any():
            short["later fragments of datagrams; left out"] += int(later.sum())
        first = fragment & ((position & 0xFFF9) == 1)
        if first.any():
            short["first fragments of datagrams; read as far as they go"] += int(first.sum())
        cursor = cursor.skip(np.where(extended, length, 0))
        following = np.where(extended, option[:, 0], following)
        following = np.where(later, -1, following)
    udp = following == _UDP
    return cursor.take(udp), addresses[udp]


@dataclass
class _Part:
    """Datagrams of one address family, before they are put back in order."""

    cursor: _Cursor
    addresses: NDArray[Any]
    ports: NDArray[Any]


def _udp(data: U8, cursor: _Cursor, addresses: NDArray[Any], short: Counter[str]) -> _Part:
    """Past UDP headers (RFC 768)."""
    enough = cursor.captured >= 8
    if not enough.all():
        short["packets too short for a UDP header; left out"] += int(len(enough) - enough.sum())
        cursor, addresses = cursor.take(enough), addresses[enough]
    fields = window(data, cursor.at, 8)
    length = big_endian(fields, 4, 2).astype(np.int64)
    length = np.where(length == 0, cursor.wire, length)
    good = length >= 8
    if not good.all():
        short["packets with a UDP length under 8; left out"] += int(len(good) - good.sum())
        cursor, addresses, fields, length = cursor.take(good), addresses[good], fields[good], length[good]
    # A UDP length beyond the IP packet's is a first fragment's, or a lie: what can be there is bounded by IP.
    bounded = _Cursor(cursor.row, cursor.at, np.minimum(cursor.captured, length), np.minimum(cursor.wire, length))
    return _Part(bounded.skip(8), addresses, big_endian(fields, 0, 4))


def _joined(records: Records, parts: list[_Part], problems: tuple[CaptureProblem, ...]) -> Datagrams:
    """All parts in the capture's order, flows numbered."""
    flows: dict[Flow, int] = {}
    numbered: list[I32] = []
    for part in parts:
        number, firsts = _flow_numbers(part)
        half = part.addresses.shape[1] // 2
        ours = np.zeros(len(firsts), dtype=np.int32)
        for i, row in enumerate(firsts.tolist()):
            address, ports = part.addresses[row].tobytes(), int(part.ports[row])
            source, destination = (str(ipaddress.ip_address(end)) for end in (address[:half], address[half:]))
            flow = Flow(source, ports >> 16, destination, ports & 0xFFFF)
            ours[i] = flows.setdefault(flow, len(flows))
        numbered.append(ours[number])
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
        flows=tuple(flows),
        problems=problems,
    )


def _flow_numbers(part: _Part) -> tuple[I32, I64]:
    """Each datagram's flow, numbered from 0, and its first row."""
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
