"""From captured packets to datagrams, for a whole capture at once: link layers, carriers, IP, fragments, TCP streams.

Each step tracks, for every packet, where the next header begins and how many of its bytes were captured. A packet that
a step cannot parse is dropped and counted; one inside a carrier is read by the innermost datagram in it. Link types are
tcpdump.org's LINKTYPE_ numbers.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from earwitness.arrays import I8, I32, I64, U8, Bool
from earwitness.trace.ethernet import (
    bsd_host_order,
    bsd_network_order,
    by_version,
    cooked,
    cooked_2,
    ethernet,
    hdlc,
    llc,
    mpls,
    ppp,
    pppoe,
    ways,
)
from earwitness.trace.flow_numbers import flow_numbers
from earwitness.trace.fragments import Reassembler, reassemble
from earwitness.trace.ip import ipv4, ipv6
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.rebuilt import Rebuilt
from earwitness.trace.records import Records
from earwitness.trace.tcp import Connections
from earwitness.trace.tunnels import etherip, gre, l2tp_3
from earwitness.trace.walk import MOST_WAVES, TOO_DEEP, Cursor, DatagramRows, Layer, Walk, joined
from earwitness.trace.wifi import ppi, radiotap, wifi

_LINKS = {
    0: Layer.BSD_HOST_ORDER,
    1: Layer.ETHERNET,
    9: Layer.PPP,
    **dict.fromkeys((12, 14, 101, 228, 229), Layer.IP),
    50: Layer.HDLC,
    51: Layer.PPPOE,
    104: Layer.HDLC,
    105: Layer.WIFI,
    108: Layer.BSD_NETWORK_ORDER,
    113: Layer.COOKED,
    127: Layer.RADIOTAP,
    192: Layer.PPI,
    276: Layer.COOKED_2,
}
_READERS: dict[Layer, Callable[[Walk, Cursor], None]] = {
    Layer.BSD_HOST_ORDER: bsd_host_order,
    Layer.BSD_NETWORK_ORDER: bsd_network_order,
    Layer.COOKED: cooked,
    Layer.COOKED_2: cooked_2,
    Layer.ETHERNET: ethernet,
    Layer.ETHERIP: etherip,
    Layer.GRE: gre,
    Layer.HDLC: hdlc,
    Layer.IP: by_version,
    Layer.IPV4: ipv4,
    Layer.IPV6: ipv6,
    Layer.L2TP_3: l2tp_3,
    Layer.LLC: llc,
    Layer.MPLS: mpls,
    Layer.PPI: ppi,
    Layer.PPP: ppp,
    Layer.PPPOE: pppoe,
    Layer.RADIOTAP: radiotap,
    Layer.WIFI: wifi,
}
MOST_FLOWS = 65_536
"""Flows distinguished per file; a capture of ten thousand calls has fewer."""
_TOO_MANY = f"packets of flows beyond the first {MOST_FLOWS}; skipped"
_MAX_DATAGRAM = 2**24
_MOST_ROUNDS = 3
"""Fragments within reassembled packets: a tunnel's packets cut, in packets that were cut."""
_MOST_NAMED = 4


@dataclass(frozen=True)
class Flow:
    """One direction of a UDP conversation, or of a TCP connection that carries datagrams."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    transport: str = "UDP"

    @property
    def reversed(self) -> Flow:
        """The other direction."""
        return Flow(self.destination, self.destination_port, self.source, self.source_port, self.transport)

    def __str__(self) -> str:
        over = "" if self.transport == "UDP" else f" ({self.transport})"
        return f"{self.source}:{self.source_port} > {self.destination}:{self.destination_port}{over}"


@dataclass(frozen=True, eq=False)
class Datagrams:
    """Datagrams in capture order, those of UDP and those cut out of TCP streams; arrays of shape (n,).

    - The payload of datagram i is `data[start[i] : start[i] + captured[i]]`; `length` is its size on the wire.
    - `flow`: index into `flows`. `record`: the number in the capture, from 0, of the packet that completed it.
    - `way`: 1 if the capturing machine sent it, -1 if it received it, 0 if the capture does not tell.
    - `made`: how it was made of fragments or segments, as `earwitness.trace.rebuilt` names it.
    """

    data: U8
    start: I64
    captured: I32
    length: I32
    time_ns: I64
    flow: I32
    record: I64
    way: I8
    made: I8
    flows: tuple[Flow, ...]
    problems: tuple[CaptureProblem, ...]

    def __len__(self) -> int:
        return len(self.start)


Wanted = Callable[[U8, I64, I64], Bool]
"""Selects the payloads to keep, given the file's bytes and each payload's start and captured length, (n,)."""


@dataclass
class Followed:
    """State carried from piece to piece of one file: its flows, what waits for more, counts of what was skipped.

    `short`, `unread`, `other`: as in `Walk`; `packets`: those of the file so far. Mutable.
    """

    flows: list[Flow] = field(default_factory=list)
    number: dict[bytes, int] = field(default_factory=dict)
    """A flow's index in `flows`, keyed by its addresses, ports and transport as bytes."""
    short: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    unsupported: Counter[int] = field(default_factory=Counter)
    """Packets per unsupported link type."""
    packets: int = 0
    fragments: Reassembler = field(init=False)
    connections: Connections = field(init=False)

    def __post_init__(self) -> None:
        self.fragments = Reassembler(self.short)
        self.connections = Connections(self.unread)

    def problems(self) -> tuple[CaptureProblem, ...]:
        """What was skipped, with counts."""
        found = []
        if self.unsupported:
            most = sorted(self.unsupported, key=lambda number: (-self.unsupported[number], number))[:3]
            named = ", ".join(map(str, most)) + (" and more" if len(self.unsupported) > 3 else "")
            count = self.unsupported.total()
            detail = f"{count} packets of unsupported link type {named}; skipped"
            found.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
        for name, count in self.unread.most_common(_MOST_NAMED):
            found.append(CaptureProblem(ProblemKind.UNSUPPORTED, f"{count} packets of {name}, not read"))
        if len(self.unread) > _MOST_NAMED:
            rest = self.unread.total() - sum(count for _, count in self.unread.most_common(_MOST_NAMED))
            found.append(CaptureProblem(ProblemKind.UNSUPPORTED, f"{rest} packets of other carriers, not read"))
        found += self.connections.problems()
        for what, count in self.short.items():
            kind = ProblemKind.FRAGMENTED if "fragment" in what else ProblemKind.BAD_LENGTH
            if what in (_TOO_MANY, TOO_DEEP):
                kind = ProblemKind.UNSUPPORTED
            found.append(CaptureProblem(kind, f"{count} {what}"))
        return tuple(found)

    def contents(self) -> Counter[str]:
        """Packets so far by what they carry, read or not."""
        link_types = Counter({f"link type {number}": count for number, count in self.unsupported.items()})
        return self.other + self.unread + link_types


def datagrams(records: Records) -> Datagrams:
    """The datagrams among the packets of a capture. Never raises; skipped packets are counted in `problems`."""
    followed = Followed()
    found = follow(records, followed, last=True)
    return replace(found, flows=tuple(followed.flows), problems=followed.problems())


def follow(records: Records, followed: Followed, wanted: Wanted | None = None, *, last: bool = False) -> Datagrams:
    """As `datagrams`, for one piece of a file, keeping only `wanted` payloads; flows and problems go into `followed`.

    `record` counts from the first packet of the piece; what a packet of an earlier piece began has a negative number.
    With `last`, nothing follows: what still waits for fragments or segments is read as far as it goes.
    """
    walk = Walk(records.data, followed.short, followed.unread, followed.other)
    rebuilt = Rebuilt(records, followed.packets)
    _begin(walk, records, followed)
    _descend(walk)
    _put_together(walk, rebuilt, followed, last=last)
    for part in followed.connections.follow(walk, rebuilt, last=last):
        walk.parts.append(part)
    followed.packets += len(records)
    parts = _innermost(walk.parts)
    followed.other["UDP"] += sum(len(part.cursor) for part in parts if part.transport == "UDP")
    if wanted is not None:
        parts = [part.only(wanted(walk.data, part.cursor.at, part.cursor.captured)) for part in parts]
    return _joined(walk, rebuilt, parts, followed)


def _begin(walk: Walk, records: Records, followed: Followed) -> None:
    """Send each packet to the layer that its link type names."""
    if not len(records):
        return
    begin = Cursor(
        np.arange(len(records), dtype=np.int64),
        records.start,
        records.captured.astype(np.int64),
        records.length,
    )
    kinds = set(records.link_types)
    if len(kinds) == 1 and (layer := _LINKS.get(records.link_types[0])) is not None:
        walk.push(layer, begin)
        return
    link_type = np.array(records.link_types, dtype=np.int64)[records.interface]
    for known, layer in _LINKS.items():
        if known in kinds:
            walk.split(layer, begin, link_type == known)
    others = link_type[~np.isin(link_type, list(_LINKS))]
    if len(others):
        numbers, counts = np.unique(others, return_counts=True)
        followed.unsupported.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


def _descend(walk: Walk) -> None:
    """Read header after header until only datagrams, segments and fragments are left."""
    for _ in range(MOST_WAVES):
        if not walk.pending:
            break
        walk.wave += 1
        pending, walk.pending = walk.pending, {}
        for layer, cursors in pending.items():
            _READERS[layer](walk, joined(cursors))
    left = sum(len(cursor) for cursors in walk.pending.values() for cursor in cursors)
    if left:
        walk.short[TOO_DEEP] += left
        walk.pending = {}


def _put_together(walk: Walk, rebuilt: Rebuilt, followed: Followed, *, last: bool) -> None:
    """Reassemble fragments, and those within what was reassembled; at the end, also what is incomplete."""
    for flush in (False, True) if last else (False,):
        for _ in range(_MOST_ROUNDS):
            if not (walk.fragments or flush) or not reassemble(walk, rebuilt, followed.fragments, last=flush):
                break
            _descend(walk)


def _innermost(parts: list[DatagramRows]) -> list[DatagramRows]:
    """Of several datagrams in one packet, the innermost."""
    if len({part.depth for part in parts}) < 2:
        return parts
    deepest = np.zeros(
        max((int(part.cursor.row.max()) for part in parts if len(part.cursor)), default=-1) + 1, dtype=int
    )
    for part in parts:
        deepest[part.cursor.row] = np.maximum(deepest[part.cursor.row], part.depth)
    return [part.only(deepest[part.cursor.row] == part.depth) for part in parts]


def _joined(walk: Walk, rebuilt: Rebuilt, parts: list[DatagramRows], followed: Followed) -> Datagrams:
    """All parts in capture order, with numbered flows."""
    numbered: list[I32] = []
    for i, part in enumerate(parts):
        number, firsts = flow_numbers(part.addresses, part.ports)
        numbers = _known_flows(part, firsts, followed)[number]
        beyond = numbers < 0
        if beyond.any():
            followed.short[_TOO_MANY] += int(beyond.sum())
            parts[i], numbers = part.only(~beyond), numbers[~beyond]
        numbered.append(numbers)
    empty = np.zeros(0, dtype=np.int64)
    whole = joined([part.cursor for part in parts]) if parts else Cursor(empty, empty, empty, empty)
    start, captured, wire = whole.at, whole.captured, whole.wire
    flow_of = np.concatenate(numbered) if numbered else empty.astype(np.int32)
    time_ns, record = rebuilt.of_rows(whole.row)
    made = rebuilt.made_of(whole.row)
    if len(parts) > 1 or rebuilt.times:
        order = np.argsort(record, kind="stable")
        start, captured, wire, flow_of = start[order], captured[order], wire[order], flow_of[order]
        time_ns, record, made = time_ns[order], record[order], made[order]
    return Datagrams(
        data=walk.data,
        start=start,
        captured=captured.astype(np.int32),
        length=np.minimum(wire, _MAX_DATAGRAM).astype(np.int32),
        time_ns=time_ns,
        flow=flow_of,
        record=record,
        way=ways(rebuilt.records, record),
        made=made,
        flows=(),
        problems=(),
    )


def _text(address: bytes) -> str:
    """An address as text; a capture can hold thousands, and IPv4's needs no library."""
    return ".".join(map(str, address)) if len(address) == 4 else str(ipaddress.ip_address(address))


def _known_flows(part: DatagramRows, firsts: I64, followed: Followed) -> I32:
    """The file-wide number of each flow of a part, given by its first row: (k,); -1 past the limit."""
    half = part.addresses.shape[1] // 2
    numbers = np.zeros(len(firsts), dtype=np.int32)
    ports = part.ports[firsts].tolist()
    suffix = part.transport.encode()
    addresses = part.addresses[firsts].tobytes()
    for i, both in enumerate(ports):
        ends = addresses[2 * half * i : 2 * half * (i + 1)]
        key = ends + both.to_bytes(4, "big") + suffix
        number = followed.number.get(key, -1)
        if number < 0 and len(followed.flows) < MOST_FLOWS:
            source, destination = _text(ends[:half]), _text(ends[half:])
            number = followed.number[key] = len(followed.flows)
            followed.flows.append(Flow(source, both >> 16, destination, both & 0xFFFF, part.transport))
        numbers[i] = number
    return numbers
