"""TURN (RFC 8656): the datagrams in ChannelData messages and in Send and Data indications, over UDP."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.walk import Cursor, DatagramRows, Walk

COOKIE = 0x2112A442
"""STUN's magic cookie (RFC 8489 5)."""
SEND, DATA = 0x0016, 0x0017
"""Message types of the two indications."""
DATA_ATTRIBUTE = 0x0013
_MAX_ATTRIBUTES = 8


def channel_data(walk: Walk, part: DatagramRows, chosen: Bool) -> None:
    """ChannelData (12.4): channel number, length, RTP or RTCP; over UDP, padding to four bytes is permitted.

    The flow stays that between client and server: only they know which peer a channel number means.
    """
    if not chosen.any():
        return
    part = part.only(chosen)
    head = window(walk.data, part.cursor.at, 5)
    length = big_endian(head, 2, 2).astype(np.int64)
    spare = part.cursor.wire - 4 - length
    sound = (spare >= 0) & (spare <= 3) & (head[:, 4] >> 6 == 2)
    _unwrapped(walk, part, 4, length, sound)


def indications(walk: Walk, part: DatagramRows, chosen: Bool) -> None:
    """Send and Data indications (RFC 8656 11): the DATA attribute is the datagram."""
    if not chosen.any():
        return
    part = part.only(chosen)
    head = window(walk.data, part.cursor.at, 8)
    kind = big_endian(head, 0, 2)
    sound = ((kind == SEND) | (kind == DATA)) & (big_endian(head, 4, 4) == COOKIE) & (part.cursor.captured >= 24)
    if not sound.any():
        return
    part = part.only(sound)
    at = np.full(len(part.cursor), 20, dtype=np.int64)
    for _ in range(_MAX_ATTRIBUTES):
        field = window(walk.data, part.cursor.at + at, 5)
        length = big_endian(field, 2, 2).astype(np.int64)
        inside = part.cursor.captured >= at + 5
        found = inside & (big_endian(field, 0, 2) == DATA_ATTRIBUTE)
        _unwrapped(walk, part, at + 4, length, found & (field[:, 4] >> 6 == 2))
        going = inside & ~found
        if not going.any():
            return
        part, at = part.only(going), (at + 4 + (length + 3) // 4 * 4)[going]


def _unwrapped(walk: Walk, part: DatagramRows, width: int | np.ndarray, length: np.ndarray, chosen: Bool) -> None:
    """The chosen datagrams inside others: deeper by one, on the same flow."""
    if chosen.any():
        cursor: Cursor = part.cursor.skip(width).within(length)
        inner = DatagramRows(cursor, part.addresses, part.ports, part.depth + 1, part.transport)
        walk.parts.append(inner.only(chosen))
