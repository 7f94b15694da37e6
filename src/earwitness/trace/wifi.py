"""IEEE 802.11 data frames, plain or behind a radiotap or PPI header (radiotap.org): where their LLC header begins."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.bytewindow import window
from earwitness.trace.ethernet import SHORT_LINK, has_snap
from earwitness.trace.walk import Cursor, Layer, Walk, long_enough

_DATA = 2
_NO_DATA, _QOS = 0x40, 0x80
"""Bits of the first byte in data frames: no payload; a QoS control field."""
_TO, _FROM, _MORE, _PROTECTED, _ORDER = 0x01, 0x02, 0x04, 0x40, 0x80
"""Bits of the second byte: to and from the distribution system, more fragments, protected, HT control."""


def radiotap(walk: Walk, cursor: Cursor) -> None:
    """A radiotap header; its length is little-endian at byte 2."""
    cursor = long_enough(cursor, 8, SHORT_LINK, walk.short)
    length = _little_endian(walk, cursor, 2)
    sound = (length >= 8) & (cursor.captured >= length)
    if not sound.all():
        walk.short[SHORT_LINK] += int(len(sound) - sound.sum())
    walk.split(Layer.WIFI, cursor.skip(length), sound)


def ppi(walk: Walk, cursor: Cursor) -> None:
    """A per-packet information header: its length at byte 2 and the link type of what follows at 4, little-endian."""
    cursor = long_enough(cursor, 8, SHORT_LINK, walk.short)
    length, kind = _little_endian(walk, cursor, 2), _little_endian(walk, cursor, 4)
    sound = (length >= 8) & (cursor.captured >= length)
    walk.split(Layer.WIFI, cursor.skip(length), sound & (kind == 105))
    walk.split(Layer.ETHERNET, cursor.skip(length), sound & (kind == 1))
    left = ~sound | ((kind != 105) & (kind != 1))
    if left.any():
        walk.unread["PPI headers of other link types"] += int(left.sum())


def wifi(walk: Walk, cursor: Cursor) -> None:
    """Data frames with a plain LLC header go on; what is encrypted or in pieces is named."""
    cursor = long_enough(cursor, 10, SHORT_LINK, walk.short)
    control = window(walk.data, cursor.at, 2)
    data = (control[:, 0] >> 2) & 3 == _DATA
    data &= (control[:, 0] & _NO_DATA) == 0
    if not data.all():
        walk.other["Wi-Fi management and control frames"] += int(len(data) - data.sum())
        cursor, control = cursor.take(data), control[data]
    first, second = control[:, 0], control[:, 1]
    quality = (first & _QOS) != 0
    width = np.full(len(cursor), 24, dtype=np.int64)
    width += np.where((second & (_TO | _FROM)) == (_TO | _FROM), 6, 0)
    service = np.where(quality, window(walk.data, cursor.at + width, 1)[:, 0], 0)
    width += np.where(quality, 2, 0)
    width += np.where(quality & ((second & _ORDER) != 0), 4, 0)
    # Some adapters pad the header to a multiple of 4 bytes, and some hand out decrypted frames that say "protected".
    plain = has_snap(walk, cursor.skip(width))
    padded = ~plain & has_snap(walk, cursor.skip(-(-width // 4) * 4))
    width = np.where(padded, -(-width // 4) * 4, width)
    plain |= padded
    walk.split(Layer.LLC, cursor.skip(width), plain)
    pieces = ((second & _MORE) != 0) | ((window(walk.data, cursor.at + 22, 1)[:, 0] & 0x0F) != 0)
    encrypted = ~plain & ((second & _PROTECTED) != 0)
    aggregate = ~plain & ~encrypted & quality & ((service & 0x80) != 0)
    fragment = ~plain & ~encrypted & ~aggregate & pieces
    for name, rows in (
        ("encrypted Wi-Fi", encrypted),
        ("Wi-Fi aggregates (A-MSDU)", aggregate),
        ("Wi-Fi fragments", fragment),
    ):
        if rows.any():
            walk.unread[name] += int(rows.sum())
    rest = ~plain & ~encrypted & ~aggregate & ~fragment
    if rest.any():
        walk.other["other Wi-Fi frames"] += int(rest.sum())


def _little_endian(walk: Walk, cursor: Cursor, at: int) -> I64:
    pair = window(walk.data, cursor.at + at, 2).astype(np.int64)
    return np.asarray(pair[:, 0] | (pair[:, 1] << 8))
