"""Carriers over IP: GRE (RFC 2784, 2890, 2637), ERSPAN I to III over it, EtherIP (RFC 3378), L2TP version 3 (RFC 3931).

ERSPAN's headers are those of draft-foschiano-erspan-03.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.ethernet import UNREAD_ETHERTYPES, by_ethertype
from earwitness.trace.walk import Cursor, Layer, Walk, long_enough

SHORT_TUNNEL = "packets too short for their tunnel's header; skipped"
_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _ACKNOWLEDGEMENT = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
_ERSPAN_2, _ERSPAN_3, _PPP = 0x88BE, 0x22EB, 0x880B
_INSIDE_GRE = (
    0x0800, 0x86DD, 0x6558, 0x8847, 0x8848, 0x8100, 0x88A8, 0x9100, 0x8926, 0x88E7, *UNREAD_ETHERTYPES
)  # fmt: skip
_NAMES = {0x883E: "WCCP over GRE", 0x2000: "Cisco discovery over GRE", 0x2001: "NHRP over GRE", 0x0000: "GRE keepalive"}
_LEAST_COOKIES = (0, 4, 8, 12)
"""Bytes between an L2TPv3 session number and its frame: cookie (0, 4 or 8) and sublayer (0 or 4), agreed elsewhere."""


def gre(walk: Walk, cursor: Cursor) -> None:
    """A GRE header with its optional fields, and what it carries."""
    cursor = long_enough(cursor, 4, SHORT_TUNNEL, walk.short)
    head = window(walk.data, cursor.at, 4)
    flags, protocol = big_endian(head, 0, 2), big_endian(head, 2, 2)
    width = np.full(len(cursor), 4, dtype=np.int64)
    for bit in (_CHECKSUM, _KEY, _SEQUENCE):
        width += np.where((flags & bit) != 0, 4, 0)
    # PPTP's GRE (version 1) has an acknowledgement, and without a sequence number no payload.
    pptp = (flags & 7) == 1
    width += np.where(pptp & ((flags & _ACKNOWLEDGEMENT) != 0), 4, 0)
    odd = ((flags & 7) > 1) | ((flags & _ROUTING) != 0)
    if odd.any():
        walk.unread["GRE with source routing or of an unknown version"] += int(odd.sum())
    empty = pptp & ((flags & _SEQUENCE) == 0)
    if empty.any():
        walk.other["PPTP acknowledgements"] += int(empty.sum())
    rest = ~odd & ~empty
    cursor, protocol, flags, width = cursor.only(rest), protocol[rest], flags[rest], width[rest]
    enough = cursor.captured >= width
    if not enough.all():
        walk.short[SHORT_TUNNEL] += int(len(enough) - enough.sum())
        cursor, protocol, flags, width = cursor.take(enough), protocol[enough], flags[enough], width[enough]
    _inside_gre(walk, cursor.skip(width), protocol, (flags & _SEQUENCE) != 0)


def _inside_gre(walk: Walk, cursor: Cursor, protocol: NDArray[Any], numbered: NDArray[Any]) -> None:
    plain = np.isin(protocol, _INSIDE_GRE)
    if plain.any():
        by_ethertype(walk, cursor.only(plain), protocol[plain])
    mirrored = protocol == _ERSPAN_2
    # Type I has no header of its own and no sequence number in GRE's.
    walk.split(Layer.ETHERNET, cursor.skip(np.where(numbered, 8, 0)), mirrored)
    third = protocol == _ERSPAN_3
    if third.any():
        _erspan_3(walk, cursor.only(third))
    walk.split(Layer.PPP, cursor, protocol == _PPP)
    left = ~(plain | mirrored | third | (protocol == _PPP))
    walk.name(walk.unread, protocol[left], _NAMES, "GRE protocol")


def _erspan_3(walk: Walk, cursor: Cursor) -> None:
    """Twelve bytes; the last bit tells of eight more. Five bits name the kind of frame: 0 Ethernet, 2 IP."""
    cursor = long_enough(cursor, 12, SHORT_TUNNEL, walk.short)
    head = window(walk.data, cursor.at, 12)
    kind = (head[:, 10] >> 2) & 0x1F
    inner = cursor.skip(12 + np.where((head[:, 11] & 1) != 0, 8, 0))
    walk.split(Layer.ETHERNET, inner, kind == 0)
    walk.split(Layer.IP, inner, kind == 2)
    odd = (kind != 0) & (kind != 2)
    if odd.any():
        walk.unread["ERSPAN III with other frames than Ethernet"] += int(odd.sum())


def etherip(walk: Walk, cursor: Cursor) -> None:
    """EtherIP: two bytes, version 3, then Ethernet."""
    cursor = long_enough(cursor, 2, SHORT_TUNNEL, walk.short)
    sound = window(walk.data, cursor.at, 1)[:, 0] >> 4 == 3
    walk.split(Layer.ETHERNET, cursor.skip(2), sound)
    if not sound.all():
        walk.unread["EtherIP of an unknown version"] += int(len(sound) - sound.sum())


def l2tp_3(walk: Walk, cursor: Cursor) -> None:
    """L2TP version 3: a session number, and what precedes the Ethernet frame in it, found by the frame's form."""
    cursor = long_enough(cursor, 4, SHORT_TUNNEL, walk.short)
    control = big_endian(window(walk.data, cursor.at, 4), 0, 4) == 0
    if control.any():
        walk.other["L2TP control"] += int(control.sum())
    cursor = cursor.only(~control).skip(4)
    for width in _LEAST_COOKIES:
        frame = window(walk.data, cursor.at + width, 15)
        kind, version = big_endian(frame, 12, 2), frame[:, 14] >> 4
        found = ((kind == 0x0800) & (version == 4)) | ((kind == 0x86DD) & (version == 6)) | (kind == 0x8100)
        found |= kind == 0x0806
        found &= cursor.captured >= width + 15
        walk.split(Layer.ETHERNET, cursor.skip(width), found)
        cursor = cursor.only(~found)
        if not len(cursor):
            return
    walk.unread["L2TPv3 (not Ethernet)"] += len(cursor)
