"""UDP (RFC 768), and the carriers over it: VXLAN, Geneve, LISP, GTP-U, L2TP, Teredo, TZSP, TURN.

A port alone says nothing: whoever wants may send RTP to port 4789. A carrier is believed if its header has its form,
and the first byte tells most of them from RTP, whose first two bits are 10 (as RFC 7983 does for STUN and TURN).
Sources: RFC 7348 (VXLAN) and its group policy draft, RFC 8926 (Geneve), RFC 9300 (LISP), 3GPP TS 29.281 (GTP-U), RFC
2661 and 3931 (L2TP), RFC 4380 (Teredo), RFC 8656 (TURN), and the TZSP of WLAN and MikroTik sniffers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8, Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.ethernet import by_ethertype
from earwitness.trace.tunnels import l2tp_3
from earwitness.trace.turn import channel_data, indications
from earwitness.trace.unread import name_ipsec, name_unread
from earwitness.trace.walk import Cursor, DatagramRows, Layer, Walk

_VXLAN, _GENEVE, _GTP, _L2TP, _TEREDO, _TZSP = (4789, 4790, 8472), (6081,), (2152,), (1701,), (3544,), (37008,)
_IPSEC, _LISP = (4500,), (4341,)
_MAX_EXTENSIONS = 8
_MAX_TAGS = 16
_KNOWN_INSIDE = (0x0800, 0x86DD, 0x8100, 0x88A8, 0x0806)


def udp(walk: Walk, cursor: Cursor, addresses: NDArray[Any]) -> None:
    """Skip UDP headers; datagrams that carry packets are read by what is in them."""
    enough = cursor.captured >= 8
    if not enough.all():
        walk.short["packets too short for a UDP header; skipped"] += int(len(enough) - enough.sum())
        cursor, addresses = cursor.take(enough), addresses[enough]
    fields = window(walk.data, cursor.at, 8)
    length = big_endian(fields, 4, 2).astype(np.int64)
    if not length.all():
        length = np.where(length == 0, cursor.wire, length)
    good = length >= 8
    if not good.all():
        walk.short["packets with a UDP length under 8; skipped"] += int(len(good) - good.sum())
        cursor, addresses, fields, length = cursor.take(good), addresses[good], fields[good], length[good]
    # A UDP length beyond the IP packet means a first fragment or corruption: IP bounds what can be there.
    part = DatagramRows(cursor.within(length).skip(8), addresses, big_endian(fields, 0, 4), 2 * walk.wave)
    if len(cursor):
        walk.parts.append(part)
        _carried(walk, part)


def _carried(walk: Walk, part: DatagramRows) -> None:
    """The carriers among datagrams."""
    cursor = part.cursor
    first = walk.data[np.minimum(cursor.at, len(walk.data) - 1)]
    # RTP and most of what is neither has passed here: version 2 goes on only to a port of VXLAN or LISP.
    others = (first >> 6 != 2) & (cursor.captured >= 8)
    rows = np.flatnonzero(others)
    if len(rows):
        few, begins = part.take(rows), first[rows]
        channel_data(walk, few, begins >> 6 == 1)
        indications(walk, few, begins == 0)
        name_unread(walk, few, begins)
    marked = _PORTS[part.ports >> 16] | _PORTS[part.ports & 0xFFFF]
    if not marked.any():
        return
    ipsec = _on(part, _IPSEC)
    if ipsec.any():
        name_ipsec(walk, part.only(ipsec))
    for ports, carrier in _CARRIERS:
        chosen = others & _on(part, ports)
        if chosen.any():
            carrier(walk, cursor.only(chosen))
    to_vxlan = _on(part, _VXLAN) & (cursor.captured >= 8)
    if to_vxlan.any():
        _vxlan(walk, cursor.only(to_vxlan))
    to_lisp = _on(part, _LISP) & (cursor.captured >= 28)
    if to_lisp.any():
        _lisp(walk, cursor.only(to_lisp))


def _on(part: DatagramRows, ports: tuple[int, ...]) -> Bool:
    """Which datagrams are from or to these ports."""
    source, destination = part.ports >> 16, part.ports & 0xFFFF
    found = np.zeros(len(source), dtype=bool)
    for port in ports:
        found |= (destination == port) | (source == port)
    return found


def _vxlan(walk: Walk, cursor: Cursor) -> None:
    """Eight bytes: a flag that the network's number is valid, the number, and zero.

    With a policy group the first bit is set as in RTP, so the frame must look right, too. The generic protocol
    extension (flag 4) names what it carries.
    """
    head = window(walk.data, cursor.at, 22)
    first, following = head[:, 0], head[:, 3]
    inside = np.isin(big_endian(head, 20, 2), _KNOWN_INSIDE) & (cursor.captured >= 22)
    sound = (head[:, 7] == 0) & ((first & 0xC8 == 0x08) | ((first == 0x88) & inside))
    generic = sound & (first & 0xC4 == 0x04) & (following > 0)
    inner = cursor.skip(8)
    walk.split(Layer.IP, inner, generic & (following <= 2))
    walk.split(Layer.ETHERNET, inner, (sound & ~generic) | (generic & (following == 3)))


def _lisp(walk: Walk, cursor: Cursor) -> None:
    """Eight bytes of flags, nonce and locators, then IP, whose length must fit: the first bits may be those of RTP."""
    inner = cursor.skip(8)
    head = window(walk.data, inner.at, 6)
    version = head[:, 0] >> 4
    four = (version == 4) & ((head[:, 0] & 0x0F) >= 5) & (big_endian(head, 2, 2) == inner.wire)
    six = (version == 6) & (big_endian(head, 4, 2).astype(np.int64) + 40 == inner.wire)
    walk.split(Layer.IPV4, inner, four)
    walk.split(Layer.IPV6, inner, six)


def _geneve(walk: Walk, cursor: Cursor) -> None:
    """Version and length of options, flags, ethertype, network number, zero, options."""
    head = window(walk.data, cursor.at, 8)
    width = 8 + 4 * (head[:, 0] & 0x3F).astype(np.int64)
    sound = (head[:, 0] >> 6 == 0) & ((head[:, 1] & 0x3F) == 0) & (head[:, 7] == 0) & (cursor.captured >= width)
    if sound.any():
        by_ethertype(walk, cursor.skip(width).only(sound), big_endian(head, 2, 2)[sound])


def _gtp(walk: Walk, cursor: Cursor) -> None:
    """Flags, type 255, length, tunnel; four more bytes if any flag is set, and then perhaps extension headers."""
    head = window(walk.data, cursor.at, 12)
    length = big_endian(head, 2, 2).astype(np.int64)
    sound = (head[:, 0] & 0xF8 == 0x30) & (length + 8 <= cursor.wire)
    user = sound & (head[:, 1] == 255)
    if (sound & ~user).any():
        walk.other["GTP signalling"] += int((sound & ~user).sum())
    if not user.any():
        return
    cursor, head, length = cursor.only(user), head[user], length[user]
    inner = cursor.skip(8).within(length)
    optional = (head[:, 0] & 7) != 0
    inner = inner.skip(np.where(optional, 4, 0))
    following = np.where((head[:, 0] & 4) != 0, head[:, 11], 0)
    for _ in range(_MAX_EXTENSIONS):
        extended = (following != 0) & (inner.captured >= 4)
        if not extended.any():
            break
        words = window(walk.data, inner.at, 1)[:, 0].astype(np.int64)
        extended &= words > 0
        width = np.where(extended, 4 * words, 0)
        last = window(walk.data, inner.at + np.maximum(width - 1, 0), 1)[:, 0]
        following = np.where(extended, last, 0)
        inner = inner.skip(width)
    # Whether a tunnel carries IP or Ethernet was agreed elsewhere.
    version = window(walk.data, inner.at, 1)[:, 0] >> 4
    is_ip = (version == 4) | (version == 6)
    walk.split(Layer.IP, inner, is_ip & (inner.captured > 0))
    walk.split(Layer.ETHERNET, inner, ~is_ip & (inner.captured > 0))


def _l2tp(walk: Walk, cursor: Cursor) -> None:
    """Version 2 carries PPP, after optional length, sequence numbers and offset; version 3 pseudowires."""
    head = window(walk.data, cursor.at, 4)
    flags = big_endian(head, 0, 2).astype(np.int64)
    stated, numbered, shifted = (flags & 0x4000) != 0, (flags & 0x0800) != 0, (flags & 0x0200) != 0
    at_offset = 6 + np.where(stated, 2, 0) + np.where(numbered, 4, 0)
    offset = big_endian(window(walk.data, cursor.at + at_offset, 2), 0, 2).astype(np.int64)
    width = at_offset + np.where(shifted, 2 + offset, 0)
    length = np.where(stated, big_endian(head, 2, 2), cursor.wire)
    version_2 = (flags & 0x34F0 == 0) & ((flags & 0x0F) == 2)
    control = (flags & 0x8000) != 0
    sound = version_2 & ~control & (length <= cursor.wire) & (cursor.captured >= width + 2)
    walk.split(Layer.PPP, cursor.within(length).skip(width), sound)
    if (version_2 & control).any():
        walk.other["L2TP control"] += int((version_2 & control).sum())
    version_3 = flags == 3
    if version_3.any():
        l2tp_3(walk, cursor.only(version_3).skip(4))


def _tzsp(walk: Walk, cursor: Cursor) -> None:
    """Version 1, a received packet, its kind (Ethernet or 802.11); then tagged fields up to the end tag."""
    head = window(walk.data, cursor.at, 4)
    kind = big_endian(head, 2, 2)
    sound = (head[:, 0] == 1) & (head[:, 1] <= 1) & np.isin(kind, (1, 18))
    cursor, kind = cursor.take(sound).skip(4), kind[sound]
    open_ = np.ones(len(cursor), dtype=bool)
    for _ in range(_MAX_TAGS):
        open_ &= cursor.captured >= 2
        if not open_.any():
            break
        width, ends = _tzsp_tag(window(walk.data, cursor.at, 2))
        cursor = cursor.skip(np.where(open_, width, 0))
        done = open_ & ends
        walk.split(Layer.ETHERNET, cursor, done & (kind == 1))
        walk.split(Layer.WIFI, cursor, done & (kind == 18))
        open_ &= ~done


def _tzsp_tag(tag: U8) -> tuple[I64, Bool]:
    """The length of each tagged field (n, 2), and whether it is the last."""
    single = tag[:, 0] <= 1
    return np.where(single, 1, 2 + tag[:, 1].astype(np.int64)), np.asarray(tag[:, 0] == 1)


def _teredo(walk: Walk, cursor: Cursor) -> None:
    """IPv6, after optional authentication and origin indication (RFC 4380 5.1.1)."""
    head = window(walk.data, cursor.at, 4)
    first = big_endian(head, 0, 2)
    width = np.where(first == 1, 13 + head[:, 2].astype(np.int64) + head[:, 3].astype(np.int64), 0)
    cursor = cursor.skip(width)
    first = big_endian(window(walk.data, cursor.at, 2), 0, 2)
    cursor = cursor.skip(np.where((first == 0) & (cursor.captured >= 8), 8, 0))
    walk.split(Layer.IPV6, cursor, (window(walk.data, cursor.at, 1)[:, 0] >> 4 == 6) & (cursor.captured > 0))


_CARRIERS = ((_GENEVE, _geneve), (_GTP, _gtp), (_L2TP, _l2tp), (_TEREDO, _teredo), (_TZSP, _tzsp))

_PORTS = np.zeros(65_536, dtype=bool)
"""Ports of carriers: one look tells most datagrams from them."""
_PORTS[[*_VXLAN, *_LISP, *_IPSEC, *(port for ports, _ in _CARRIERS for port in ports)]] = True
