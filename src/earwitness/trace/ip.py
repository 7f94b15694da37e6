"""IPv4 (RFC 791) and IPv6 (RFC 8200) for all packets at once, down to what each carries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.udp import udp
from earwitness.trace.walk import Cursor, Fragments, Layer, Segments, Walk, long_enough

_TCP, _UDP, _FRAGMENT, _AUTHENTICATION = 6, 17, 44, 51
_EXTENSIONS = (0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140)
_MAX_EXTENSIONS = 8
_CARRIERS = {
    4: Layer.IPV4,
    41: Layer.IPV6,
    47: Layer.GRE,
    97: Layer.ETHERIP,
    115: Layer.L2TP_3,
    137: Layer.MPLS,
}
_UNREAD = {50: "IPsec ESP (encrypted)", 108: "compressed IP (IPComp)", 55: "minimal IP encapsulation"}
_IS_UNREAD = np.zeros(256, dtype=bool)
_IS_UNREAD[list(_UNREAD)] = True
_OTHER = {1: "ICMP", 2: "IGMP", 58: "ICMPv6", 59: "IPv6 without payload", 88: "EIGRP", 89: "OSPF", 103: "PIM",
          112: "VRRP", 132: "SCTP"}  # fmt: skip
_SYN = 0x02


def ipv4(walk: Walk, cursor: Cursor) -> None:
    """IPv4 headers."""
    cursor = long_enough(cursor, 20, "packets too short for an IPv4 header; skipped", walk.short)
    fields = window(walk.data, cursor.at, 20)
    total = big_endian(fields, 2, 2).astype(np.int64)
    if not total.all():
        # With segmentation offload the total length is captured as 0, which means: to the end of the packet.
        total = np.where(total == 0, cursor.wire, total)
    header: I64 | int = 20
    good = total >= header
    if not (fields[:, 0] == 0x45).all():
        header = (fields[:, 0] & 0x0F).astype(np.int64) * 4
        good = (fields[:, 0] >> 4 == 4) & (header >= 20) & (total >= header) & (cursor.captured >= header)
    if not good.all():
        walk.short["packets with an invalid IPv4 header; skipped"] += int(len(good) - good.sum())
        cursor, fields, total = cursor.take(good), fields[good], total[good]
        header = header if isinstance(header, int) else header[good]
    cursor = Cursor(cursor.row, cursor.at, np.minimum(cursor.captured, total), total).skip(header)
    # As words, which are copied many times faster than their bytes.
    addresses = fields[:, 12:20].view(np.uint64).copy().view(np.uint8)
    protocol = fields[:, 9].astype(np.int64)
    position = big_endian(fields, 6, 2)
    pieces = (position & 0x3FFF) != 0
    if pieces.any():
        offset, more = (position & 0x1FFF).astype(np.int64) * 8, (position & 0x2000) != 0
        identification = big_endian(fields, 4, 2).astype(np.int64)
        columns = (column[pieces] for column in (protocol, identification, offset, more))
        walk.fragments.append(Fragments(cursor.take(pieces), addresses[pieces], *columns))
        cursor, addresses, protocol = cursor.take(~pieces), addresses[~pieces], protocol[~pieces]
    transport(walk, cursor, addresses, protocol)


def ipv6(walk: Walk, cursor: Cursor) -> None:
    """IPv6 headers."""
    cursor = long_enough(cursor, 40, "packets too short for an IPv6 header; skipped", walk.short)
    fields = window(walk.data, cursor.at, 40)
    right = fields[:, 0] >> 4 == 6
    if not right.all():
        walk.short["packets with an invalid IPv6 header; skipped"] += int(len(right) - right.sum())
        cursor, fields = cursor.take(right), fields[right]
    payload = big_endian(fields, 4, 2).astype(np.int64)
    payload = np.where(payload == 0, cursor.wire - 40, payload)
    addresses = fields[:, 8:40].view(np.uint64).copy().view(np.uint8)
    cursor = Cursor(cursor.row, cursor.at + 40, np.minimum(cursor.captured - 40, payload), payload)
    transport(walk, cursor, addresses, fields[:, 6].astype(np.int64))


def transport(walk: Walk, cursor: Cursor, addresses: NDArray[Any], protocol: I64) -> None:
    """What IP packets carry, by protocol number (n,): datagrams, segments, fragments, and carriers of more packets.

    `addresses`: as in `DatagramRows`. IPv6 extension headers are passed, and IPv4's authentication header with them.
    """
    datagram = protocol == _UDP
    if datagram.all():
        udp(walk, cursor, addresses)
        return
    extended = np.isin(protocol, _EXTENSIONS) if addresses.shape[1] == 32 else protocol == _AUTHENTICATION
    if extended.any():
        cursor, addresses, protocol = _past_extensions(walk, cursor, addresses, protocol)
        datagram = protocol == _UDP
    rows = np.flatnonzero(datagram)
    if len(rows):
        udp(walk, cursor.take(rows), addresses.take(rows, axis=0))
    rows = np.flatnonzero(~datagram)
    if len(rows):
        _beside_udp(walk, cursor.take(rows), addresses[rows], protocol[rows])


def _beside_udp(walk: Walk, cursor: Cursor, addresses: NDArray[Any], protocol: I64) -> None:
    """TCP segments, carriers, and what is only counted."""
    segment = protocol == _TCP
    if segment.any():
        _tcp(walk, cursor.only(segment), addresses[segment])
    left = ~segment
    for number, layer in _CARRIERS.items():
        chosen = protocol == number
        if chosen.any():
            walk.push(layer, cursor.only(chosen))
            left &= ~chosen
    if left.any():
        unread = left & _IS_UNREAD[protocol]
        walk.name(walk.unread, protocol[unread], _UNREAD, "IP protocol")
        walk.name(walk.other, protocol[left & ~unread], _OTHER, "IP protocol")


def _past_extensions(
    walk: Walk, cursor: Cursor, addresses: NDArray[Any], following: I64
) -> tuple[Cursor, NDArray[Any], I64]:
    """Skip extension headers; fragments go to `walk.fragments`."""
    for _ in range(_MAX_EXTENSIONS):
        extended = np.isin(following, _EXTENSIONS)
        if not extended.any():
            break
        held = ~extended | (cursor.captured >= 8)
        if not held.all():
            walk.short["packets too short for an IPv6 extension header; skipped"] += int(len(held) - held.sum())
            cursor, following, addresses, extended = cursor.take(held), following[held], addresses[held], extended[held]
        option = window(walk.data, cursor.at, 8)
        length = (option[:, 1].astype(np.int64) + 1) * 8
        length = np.where(following == _AUTHENTICATION, (option[:, 1].astype(np.int64) + 2) * 4, length)
        fragment = extended & (following == _FRAGMENT)
        length = np.where(fragment, 8, length)
        position = big_endian(option, 2, 2)
        following = np.where(extended, option[:, 0], following)
        cursor = cursor.skip(np.where(extended, length, 0))
        pieces = fragment & ((position & 0xFFF9) != 0)
        if pieces.any():
            identification = big_endian(option, 4, 4).astype(np.int64)
            offset, more = (position & 0xFFF8).astype(np.int64), (position & 1) != 0
            columns = (column[pieces] for column in (following, identification, offset, more))
            walk.fragments.append(Fragments(cursor.take(pieces), addresses[pieces], *columns))
            cursor, following, addresses = cursor.take(~pieces), following[~pieces], addresses[~pieces]
    return cursor, addresses, following


def _tcp(walk: Walk, cursor: Cursor, addresses: NDArray[Any]) -> None:
    """TCP headers (RFC 9293): segments with a payload, or that open a connection."""
    walk.other["TCP"] += len(cursor)
    enough = cursor.captured >= 20
    cursor, addresses = cursor.only(enough), addresses[enough]
    fields = window(walk.data, cursor.at, 14)
    header = (fields[:, 12] >> 4).astype(np.int64) * 4
    starts = (fields[:, 13] & _SYN) != 0
    good = (header >= 20) & ((cursor.wire > header) | starts)
    cursor, addresses, fields = cursor.take(good), addresses[good], fields[good]
    if len(cursor):
        inner = cursor.skip(header[good])
        inner = Cursor(inner.row, inner.at, np.maximum(inner.captured, 0), np.maximum(inner.wire, 0))
        sequence = big_endian(fields, 4, 4).astype(np.int64)
        walk.segments.append(Segments(inner, addresses, big_endian(fields, 0, 4), sequence, starts[good]))
