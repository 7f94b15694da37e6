"""Skip IPv4 and IPv6 headers for all packets of a capture at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8
from earwitness.trace.bytewindow import big_endian, window

_UDP, _FRAGMENT, _AUTHENTICATION = 17, 44, 51
_EXTENSIONS = (0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140)
_MAX_EXTENSIONS = 8


@dataclass
class Cursor:
    """Where the next header of each packet begins, and the remaining bytes captured and on the wire. Mutable, local."""

    row: I64
    at: I64
    captured: I64
    wire: I64

    def take(self, chosen: NDArray[Any]) -> Cursor:
        """Only the packets selected by an index or boolean array."""
        return Cursor(self.row[chosen], self.at[chosen], self.captured[chosen], self.wire[chosen])

    def skip(self, width: NDArray[Any] | int) -> Cursor:
        """Advance past a header of this width: one width for all packets, or one each."""
        return Cursor(self.row, self.at + width, self.captured - width, self.wire - width)


def long_enough(cursor: Cursor, width: NDArray[Any] | int, what: str, short: Counter[str]) -> Cursor:
    """Only the packets with `width` more bytes captured; the others are counted under `what`."""
    enough = cursor.captured >= width
    if enough.all():
        return cursor
    short[what] += int(len(enough) - enough.sum())
    return cursor.take(enough)


def udp_over_ipv4(data: U8, cursor: Cursor, short: Counter[str]) -> tuple[Cursor, NDArray[Any]]:
    """Skip IPv4 headers (RFC 791): UDP packets only, and their addresses as bytes (n, 8)."""
    cursor = long_enough(cursor, 20, "packets too short for an IPv4 header; skipped", short)
    fields = window(data, cursor.at, 20)
    header = (fields[:, 0] & 0x0F).astype(np.int64) * 4
    total = big_endian(fields, 2, 2).astype(np.int64)
    # With segmentation offload the total length is captured as 0, which means: to the end of the packet.
    total = np.where(total == 0, cursor.wire, total)
    good = (fields[:, 0] >> 4 == 4) & (header >= 20) & (total >= header) & (cursor.captured >= header)
    if not good.all():
        short["packets with an invalid IPv4 header; skipped"] += int(len(good) - good.sum())
    udp = good & (fields[:, 9] == _UDP)
    fragment = big_endian(fields, 6, 2)
    later = udp & ((fragment & 0x1FFF) != 0)
    first = udp & ((fragment & 0x3FFF) == 0x2000)
    if first.any():
        short["first fragments of datagrams; read as far as they go"] += int(first.sum())
    if later.any():
        short["later fragments of datagrams; skipped"] += int(later.sum())
        udp &= ~later
    if not udp.all():
        cursor, fields, header, total = cursor.take(udp), fields[udp], header[udp], total[udp]
    bounded = Cursor(cursor.row, cursor.at, np.minimum(cursor.captured, total), total)
    return bounded.skip(header), np.ascontiguousarray(fields[:, 12:20])


def udp_over_ipv6(data: U8, cursor: Cursor, short: Counter[str]) -> tuple[Cursor, NDArray[Any]]:
    """Skip IPv6 headers and extension headers (RFC 8200): UDP packets only, and their addresses as bytes (n, 32)."""
    cursor = long_enough(cursor, 40, "packets too short for an IPv6 header; skipped", short)
    fields = window(data, cursor.at, 40)
    right = fields[:, 0] >> 4 == 6
    cursor, fields = cursor.take(right), fields[right]
    payload = big_endian(fields, 4, 2).astype(np.int64)
    payload = np.where(payload == 0, cursor.wire - 40, payload)
    following = fields[:, 6].astype(np.int64)
    addresses = np.ascontiguousarray(fields[:, 8:40])
    cursor = Cursor(cursor.row, cursor.at + 40, np.minimum(cursor.captured - 40, payload), payload)
    for _ in range(_MAX_EXTENSIONS):
        extended = np.isin(following, _EXTENSIONS)
        if not extended.any():
            break
        held = ~extended | (cursor.captured >= 8)
        if not held.all():
            short["packets too short for an IPv6 extension header; skipped"] += int(len(held) - held.sum())
            cursor, following, addresses, extended = cursor.take(held), following[held], addresses[held], extended[held]
        option = window(data, cursor.at, 4)
        length = (option[:, 1].astype(np.int64) + 1) * 8
        length = np.where(following == _AUTHENTICATION, (option[:, 1].astype(np.int64) + 2) * 4, length)
        fragment = extended & (following == _FRAGMENT)
        length = np.where(fragment, 8, length)
        position = big_endian(option, 2, 2)
        later = fragment & ((position >> 3) != 0)
        if later.any():
            short["later fragments of datagrams; skipped"] += int(later.sum())
        first = fragment & ((position & 0xFFF9) == 1)
        if first.any():
            short["first fragments of datagrams; read as far as they go"] += int(first.sum())
        cursor = cursor.skip(np.where(extended, length, 0))
        following = np.where(extended, option[:, 0], following)
        following = np.where(later, -1, following)
    udp = following == _UDP
    return cursor.take(udp), addresses[udp]
