"""Link layers, and the carriers between them and IP: VLAN and other tags, MPLS, PPPoE, PPP, LLC.

Sources: IEEE 802.1Q, 802.1ad, 802.1ah, 802.1BR and 802.2; RFC 1661, 1662 (PPP); RFC 2516 (PPPoE); RFC 3032 (MPLS);
RFC 4385 and 4448 (Ethernet over MPLS). Ethertypes and PPP protocols are IANA's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I8, I64, Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.records import Records
from earwitness.trace.walk import Cursor, Layer, Walk, long_enough

SHORT_LINK = "packets too short for their link header; skipped"
_SHORT_CARRIER = "packets too short for their carrier's header; skipped"
_IPV4, _IPV6 = 0x0800, 0x86DD
_MPLS = (0x8847, 0x8848)
_PPPOE, _TRANSPARENT = 0x8864, 0x6558
_WHOLE_FRAMES = {0x88E7: 4, 0x8903: 2}
"""Carriers of whole frames: IEEE 802.1ah's service tag and FabricPath's tree and hop count, bytes after the type."""
_VLAN = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
_VN_TAG, _SECURITY_GROUP, _RING = 0x8926, 0x8909, 0x892F
_TAGS = {**dict.fromkeys(_VLAN, 4), _VN_TAG: 6, _SECURITY_GROUP: 8, _RING: 6}
"""Length of each tag with the ethertype after it: VLANs, 802.1BR's, Cisco's of security groups, HSR's (IEC 62439-3)."""
_USUAL = (_IPV4, _IPV6, 0x0806, *_MPLS, _PPPOE, *_VLAN)
_MAX_TAGS = 6
_LOOPBACK_IPV6 = (10, 24, 28, 30)
"""AF_INET6 on Linux, NetBSD/OpenBSD, FreeBSD, macOS; AF_INET is 2 on all of them."""
_MAX_LABELS = 16
_LENGTH_FIELD = 0x0600
"""Below it, an ethertype is the length of an 802.3 frame."""
UNREAD_ETHERTYPES = {
    0x88E5: "MACsec (encrypted)",
    0x22F3: "TRILL",
    0x894F: "NSH",
}
"""Carriers that are recognised and not read."""
_OTHER_ETHERTYPES = {
    0x0806: "ARP",
    0x8035: "RARP",
    0x8863: "PPPoE discovery",
    0x888E: "EAPOL",
    0x88CC: "LLDP",
    0x88F7: "PTP",
    0x9000: "Ethernet loopback",
}
_UNREAD_PPP = {0x00FD: "compressed PPP", 0x0053: "encrypted PPP", 0x0055: "encrypted PPP"}
_COMPRESSED_HEADERS = dict.fromkeys((45, 47, 97, 99, 101, 103, 105), "PPP with compressed headers")
_OTHER_PPP = {0xC021: "PPP link control", 0xC023: "PPP authentication", 0xC223: "PPP authentication"}
_PACKET_TYPE_AT = {113: 1, 276: 10}
"""Where the cooked headers have the (lower byte of the) packet type."""


def by_ethertype(walk: Walk, cursor: Cursor, protocol: NDArray[Any]) -> None:
    """Pass tags, and send each packet to the layer that its ethertype (n,) names."""
    plain = protocol == _IPV4
    if plain.all():
        walk.push(Layer.IPV4, cursor)
        return
    for _ in range(_MAX_TAGS):
        width = np.zeros(len(cursor), dtype=np.int64)
        for tag, length in _TAGS.items():
            width[(protocol == tag) & (cursor.captured >= length)] = length
        tagged = width > 0
        if not tagged.any():
            break
        following = big_endian(window(walk.data, cursor.at + np.maximum(width - 2, 0), 2), 0, 2)
        protocol = np.where(tagged, following, protocol)
        cursor = cursor.skip(width)
    left = np.ones(len(cursor), dtype=bool)
    for chosen, layer in (
        (protocol == _IPV4, Layer.IPV4),
        (protocol == _IPV6, Layer.IPV6),
        (np.isin(protocol, _MPLS), Layer.MPLS),
        (protocol == _PPPOE, Layer.PPPOE),
        (protocol == _TRANSPARENT, Layer.ETHERNET),
        (protocol < _LENGTH_FIELD, Layer.LLC),
    ):
        walk.split(layer, cursor, chosen)
        left &= ~chosen
    for kind, skipped in _WHOLE_FRAMES.items():
        chosen = protocol == kind
        walk.split(Layer.ETHERNET, cursor.skip(skipped), chosen)
        left &= ~chosen
    if left.any():
        unread = left & np.isin(protocol, list(UNREAD_ETHERTYPES))
        walk.name(walk.unread, protocol[unread], UNREAD_ETHERTYPES, "ethertype")
        walk.name(walk.other, protocol[left & ~unread], _OTHER_ETHERTYPES, "ethertype")


def ethernet(walk: Walk, cursor: Cursor) -> None:
    """An Ethernet header: two addresses and the ethertype."""
    cursor = long_enough(cursor, 14, SHORT_LINK, walk.short)
    by_ethertype(walk, cursor.skip(14), big_endian(window(walk.data, cursor.at + 12, 2), 0, 2))


def cooked(walk: Walk, cursor: Cursor) -> None:
    """Linux cooked capture, version 1: 16 bytes, the last two the ethertype."""
    cursor = long_enough(cursor, 16, SHORT_LINK, walk.short)
    by_ethertype(walk, cursor.skip(16), big_endian(window(walk.data, cursor.at + 14, 2), 0, 2))


def cooked_2(walk: Walk, cursor: Cursor) -> None:
    """Linux cooked capture, version 2: 20 bytes, the first two the ethertype."""
    cursor = long_enough(cursor, 20, SHORT_LINK, walk.short)
    by_ethertype(walk, cursor.skip(20), big_endian(window(walk.data, cursor.at, 2), 0, 2))


def ways(records: Records, numbers: I64) -> I8:
    """`Datagrams.way`, (n,), from the packet type in Linux's cooked captures (LINKTYPE_LINUX_SLL and _SLL2).

    `numbers` are those of the packets, counted from the first of these records; negative ones came earlier.
    """
    ways = np.zeros(len(numbers), dtype=np.int8)
    if not any(link_type in _PACKET_TYPE_AT for link_type in records.link_types):
        return ways
    place = np.array([_PACKET_TYPE_AT.get(link_type, -1) for link_type in records.link_types])
    rows = np.flatnonzero(numbers >= 0)
    at = place[records.interface[numbers[rows]]]
    rows, at = rows[at >= 0], at[at >= 0]
    # Every datagram had its whole link header captured.
    kind = window(records.data, records.start[numbers[rows]] + at, 1)[:, 0]
    # To this host, to all, or to a group; sent by it. A packet between other hosts says nothing.
    ways[rows] = np.select([kind <= 2, kind == 4], [-1, 1], 0)
    return ways


def bsd_host_order(walk: Walk, cursor: Cursor) -> None:
    """BSD loopback: the address family in the byte order of the capturing machine."""
    _bsd(walk, cursor, host_order=True)


def bsd_network_order(walk: Walk, cursor: Cursor) -> None:
    """OpenBSD loopback: the address family in network byte order."""
    _bsd(walk, cursor, host_order=False)


def _bsd(walk: Walk, cursor: Cursor, *, host_order: bool) -> None:
    cursor = long_enough(cursor, 4, SHORT_LINK, walk.short)
    family = big_endian(window(walk.data, cursor.at, 4), 0, 4)
    if host_order:
        # Address families are small numbers.
        family = np.where(family > 0xFFFF, family.byteswap(), family)
    cursor = cursor.skip(4)
    walk.split(Layer.IPV4, cursor, family == 2)
    six = np.isin(family, _LOOPBACK_IPV6)
    walk.split(Layer.IPV6, cursor, six)
    others = int(np.count_nonzero((family != 2) & ~six))
    if others:
        walk.other["another address family"] += others


def by_version(walk: Walk, cursor: Cursor) -> None:
    """Raw IP: the first four bits are the version."""
    cursor = long_enough(cursor, 1, "empty packets; skipped", walk.short)
    version = window(walk.data, cursor.at, 1)[:, 0] >> 4
    walk.split(Layer.IPV4, cursor, version == 4)
    walk.split(Layer.IPV6, cursor, version == 6)
    neither = (version != 4) & (version != 6)
    if neither.any():
        walk.other["neither IPv4 nor IPv6"] += int(neither.sum())


def llc(walk: Walk, cursor: Cursor) -> None:
    """IEEE 802.2 with SNAP, which names an ethertype (RFC 1042); other LLC is bridges talking to each other."""
    cursor = long_enough(cursor, 3, _SHORT_CARRIER, walk.short)
    snap = has_snap(walk, cursor)
    if not snap.all():
        walk.other["802.2 LLC"] += int(len(cursor) - snap.sum())
        cursor = cursor.take(snap)
    by_ethertype(walk, cursor.skip(8), big_endian(window(walk.data, cursor.at + 6, 2), 0, 2))


def has_snap(walk: Walk, cursor: Cursor) -> Bool:
    """Which packets begin with LLC and SNAP headers whose protocol is an ethertype."""
    head = window(walk.data, cursor.at, 6)
    organisation = big_endian(head, 2, 4) & 0xFFFFFF
    named = (organisation == 0) | (organisation == 0x0000F8)
    return np.asarray((cursor.captured >= 8) & (big_endian(head, 0, 2) == 0xAAAA) & (head[:, 2] == 3) & named)


def mpls(walk: Walk, cursor: Cursor) -> None:
    """A label stack. What follows has no name in it: it is told by its form."""
    for _ in range(_MAX_LABELS):
        cursor = long_enough(cursor, 5, _SHORT_CARRIER, walk.short)
        bottom = (window(walk.data, cursor.at + 2, 1)[:, 0] & 1) != 0
        cursor = cursor.skip(4)
        _below_labels(walk, cursor.only(bottom))
        cursor = cursor.only(~bottom)
        if not len(cursor):
            return
    walk.unread["MPLS with more than 16 labels"] += len(cursor)


def _below_labels(walk: Walk, cursor: Cursor) -> None:
    """IP by its version, Ethernet behind a control word (RFC 4385), whose first four bits are 0, or without.

    Addresses of Ethernet may begin with any of these bits: then the lengths and ethertypes decide.
    """
    if not len(cursor):
        return
    head = window(walk.data, cursor.at, 6)
    first = head[:, 0] >> 4
    bare, controlled = _is_frame(walk, cursor, 0), _is_frame(walk, cursor, 4)
    four = (first == 4) & ~(bare & (big_endian(head, 2, 2) > cursor.wire))
    six = (first == 6) & ~(bare & (big_endian(head, 4, 2).astype(np.int64) + 40 > cursor.wire))
    word = (first == 0) & (controlled | ~bare)
    # The first bits of a pseudowire's control channel.
    control = (first == 1) & ~bare
    walk.split(Layer.IPV4, cursor, four)
    walk.split(Layer.IPV6, cursor, six)
    walk.split(Layer.ETHERNET, cursor.skip(np.where(word, 4, 0)), ~(four | six | control))
    if control.any():
        walk.other["MPLS control channel"] += int(control.sum())


def _is_frame(walk: Walk, cursor: Cursor, at: int) -> Bool:
    """Which packets have an Ethernet header with a usual ethertype at this offset."""
    kind = big_endian(window(walk.data, cursor.at + at + 12, 2), 0, 2)
    return np.asarray(np.isin(kind, _USUAL) & (cursor.captured >= at + 14))


def pppoe(walk: Walk, cursor: Cursor) -> None:
    """A PPPoE session header of 6 bytes, then PPP without address and control."""
    cursor = long_enough(cursor, 8, _SHORT_CARRIER, walk.short)
    head = window(walk.data, cursor.at, 6)
    session = (head[:, 0] == 0x11) & (head[:, 1] == 0)
    if not session.all():
        walk.other["PPPoE discovery"] += int(len(cursor) - session.sum())
    length = big_endian(head, 4, 2).astype(np.int64)
    walk.split(Layer.PPP, cursor.skip(6).within(length), session)


def ppp(walk: Walk, cursor: Cursor) -> None:
    """PPP: perhaps address and control (FF 03), then the protocol in two bytes, or in one odd byte if compressed."""
    cursor = long_enough(cursor, 4, _SHORT_CARRIER, walk.short)
    framed = big_endian(window(walk.data, cursor.at, 2), 0, 2) == 0xFF03
    cursor = cursor.skip(np.where(framed, 2, 0))
    head = window(walk.data, cursor.at, 2)
    one = (head[:, 0] & 1) != 0
    protocol = np.where(one, head[:, 0], big_endian(head, 0, 2))
    cursor = cursor.skip(np.where(one, 1, 2))
    left = np.ones(len(cursor), dtype=bool)
    for chosen, layer in (
        (protocol == 0x0021, Layer.IPV4),
        (protocol == 0x0057, Layer.IPV6),
        (np.isin(protocol, (0x0281, 0x0283)), Layer.MPLS),
    ):
        walk.split(layer, cursor, chosen)
        left &= ~chosen
    if left.any():
        names = {**_UNREAD_PPP, **_COMPRESSED_HEADERS}
        unread = left & np.isin(protocol, list(names))
        walk.name(walk.unread, protocol[unread], names, "PPP protocol")
        walk.name(walk.other, protocol[left & ~unread], _OTHER_PPP, "PPP protocol")


def hdlc(walk: Walk, cursor: Cursor) -> None:
    """Serial lines: PPP in HDLC's framing, or Cisco's HDLC, which names an ethertype."""
    cursor = long_enough(cursor, 5, SHORT_LINK, walk.short)
    head = window(walk.data, cursor.at, 4)
    cisco = (head[:, 0] == 0x0F) | (head[:, 0] == 0x8F)
    walk.split(Layer.PPP, cursor, ~cisco)
    if cisco.any():
        by_ethertype(walk, cursor.only(cisco).skip(4), big_endian(head[cisco], 2, 2))
