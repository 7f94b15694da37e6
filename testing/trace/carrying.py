"""Carriers of our own making around an IP packet, written from the RFCs and drafts, one function each."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence

from testing.trace.making import Datagram, udp_packet

OUTER = ("192.0.2.1", "192.0.2.2")
Wrap = Callable[[bytes], bytes]


def ip(payload: bytes, protocol: int, ends: tuple[str, str] = OUTER) -> bytes:
    """An IPv4 or IPv6 packet of this protocol."""
    addresses = b"".join(ipaddress.ip_address(end).packed for end in ends)
    if ":" in ends[0]:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses + payload


def udp(payload: bytes, port: int, source_port: int = 50_000, ends: tuple[str, str] = OUTER) -> bytes:
    """An IP packet with a datagram to this port."""
    return udp_packet(Datagram(0, payload, (ends[0], source_port), (ends[1], port)))


def ethertype(packet: bytes) -> int:
    """The ethertype of an IP packet."""
    return 0x86DD if packet[:1] >= b"\x60" else 0x0800


def ethernet(payload: bytes, kind: int | None = None) -> bytes:
    """An Ethernet frame; an IP packet names its own ethertype."""
    ends = bytes.fromhex("020000000001020000000002")
    return ends + struct.pack(">H", ethertype(payload) if kind is None else kind) + payload


def llc(packet: bytes) -> bytes:
    """LLC and SNAP headers (RFC 1042)."""
    return bytes.fromhex("aaaa03000000") + struct.pack(">H", ethertype(packet)) + packet


def ppp(packet: bytes) -> bytes:
    """PPP without address and control."""
    return struct.pack(">H", 0x0057 if packet[:1] >= b"\x60" else 0x0021) + packet


def mpls(payload: bytes, labels: int = 1) -> bytes:
    """A stack of labels."""
    stack = [(16 + i) << 12 | (i == labels - 1) << 8 | 64 for i in range(labels)]
    return struct.pack(f">{labels}I", *stack) + payload


def gre(payload: bytes, kind: int, flags: int = 0) -> bytes:
    """GRE with a checksum, key or sequence number of its flags, as any number (nobody verifies the checksum)."""
    optional = b"".join(struct.pack(">I", 7) for bit in (0x8000, 0x2000, 0x1000) if flags & bit)
    return ip(struct.pack(">HH", flags, kind) + optional + payload, 47)


def vxlan(frame: bytes, flags: int = 0x08, following: int = 0) -> bytes:
    """VXLAN's eight bytes; `following` is the protocol that the generic extension (flag 4) names."""
    return struct.pack(">BxxBI", flags, following, 42 << 8) + frame


def gtp(packet: bytes, flags: int = 0x30, extensions: Sequence[bytes] = (), following: Sequence[int] = ()) -> bytes:
    """A G-PDU; `extensions` are whole extension headers, each ending with the type of the next."""
    optional = struct.pack(">HBB", 1, 0, following[0] if following else 0) if flags & 7 else b""
    body = optional + b"".join(extensions) + packet
    return struct.pack(">BBHI", flags, 255, len(body), 9) + body


def erspan_3(frame: bytes, *, sub_header: bool = False) -> bytes:
    """ERSPAN type III: version 2, and eight bytes more if the last bit says so."""
    return struct.pack(">HHIHH", 0x2001, 5, 0, 0, int(sub_header)) + bytes(8 * sub_header) + frame


def wifi(packet: bytes, flags: int = 0x01, *, quality: bool = False, radiotap: bool = False) -> bytes:
    """An 802.11 data frame with LLC; `flags`: its second byte."""
    head = bytes([0x88 if quality else 0x08, flags]) + bytes(22) + bytes(6 if flags & 3 == 3 else 0)
    head += bytes(2 if quality else 0) + bytes(4 if quality and flags & 0x80 else 0)
    return (bytes.fromhex("0000080000000000") if radiotap else b"") + head + llc(packet)


def _teredo(packet: bytes) -> bytes:
    """The IPv6 packet that Teredo carries (RFC 4380)."""
    return packet if packet[:1] >= b"\x60" else ip(packet, 4, ("2001::1", "2001::2"))


def _pdu_session(packet: bytes) -> bytes:
    """GTP-U as in 5G: a PDU session container (type 0x85) of one word, and a second of two."""
    return gtp(packet, 0x34, (bytes([1, 0, 9, 0x85]), bytes([2, 0, 9, 0, 0, 0, 0, 0])), (0x85,))


def _eoip(packet: bytes) -> bytes:
    return ip(b"\x30\x00" + ethernet(packet), 97)


CARRIERS: dict[str, Wrap] = {
    "vlan": lambda p: ethernet(struct.pack(">HH", 5, ethertype(p)) + p, 0x8100),
    "qinq": lambda p: ethernet(struct.pack(">HHHH", 5, 0x8100, 6, ethertype(p)) + p, 0x88A8),
    "vn-tag": lambda p: ethernet(struct.pack(">IH", 0x00010002, ethertype(p)) + p, 0x8926),
    "802.1ah": lambda p: ethernet(struct.pack(">I", 77) + ethernet(p), 0x88E7),
    "security group tag": lambda p: ethernet(struct.pack(">HHHH", 0x0101, 1, 7, ethertype(p)) + p, 0x8909),
    "hsr": lambda p: ethernet(struct.pack(">HHH", 0x1000 | 6 + len(p), 1, ethertype(p)) + p, 0x892F),
    "fabric path": lambda p: ethernet(b"\x00\x60" + ethernet(p), 0x8903),
    "802.3 snap": lambda p: ethernet(llc(p), 8 + len(p)),
    "mpls": lambda p: ethernet(mpls(p), 0x8847),
    "mpls stack": lambda p: ethernet(mpls(p, 4), 0x8848),
    "mpls pseudowire": lambda p: ethernet(mpls(bytes(4) + ethernet(p), 2), 0x8847),
    "mpls pseudowire without control word": lambda p: ethernet(mpls(b"\x00\x1b" + ethernet(p)[2:], 3), 0x8847),
    "mpls pseudowire like ip": lambda p: ethernet(mpls(b"\x44\x1b\xff" + ethernet(p)[3:], 3), 0x8847),
    "pppoe": lambda p: ethernet(struct.pack(">BBHH", 0x11, 0, 3, 2 + len(p)) + ppp(p), 0x8864),
    "ip in ip": lambda p: ethernet(ip(p, 41 if p[:1] >= b"\x60" else 4)),
    "gre": lambda p: ethernet(gre(p, ethertype(p))),
    "gre all fields": lambda p: ethernet(gre(p, ethertype(p), 0xB000)),
    "gre ethernet": lambda p: ethernet(gre(ethernet(p), 0x6558, 0x2000)),
    "gre mpls": lambda p: ethernet(gre(mpls(p), 0x8847)),
    "pptp": lambda p: ethernet(
        ip(struct.pack(">HHHHII", 0x3081, 0x880B, 4 + len(p), 7, 1, 0) + b"\xff\x03" + ppp(p), 47)
    ),
    "erspan 1": lambda p: ethernet(gre(ethernet(p), 0x88BE)),
    "erspan 2": lambda p: ethernet(gre(struct.pack(">HHI", 0x1005, 3, 0) + ethernet(p), 0x88BE, 0x1000)),
    "erspan 3": lambda p: ethernet(gre(erspan_3(ethernet(p)), 0x22EB, 0x1000)),
    "erspan 3 long": lambda p: ethernet(gre(erspan_3(ethernet(p), sub_header=True), 0x22EB, 0x1000)),
    "vxlan": lambda p: ethernet(udp(vxlan(ethernet(p)), 4789)),
    "vxlan linux": lambda p: ethernet(udp(vxlan(ethernet(p)), 8472)),
    "vxlan group": lambda p: ethernet(udp(vxlan(ethernet(p), 0x88), 4789)),
    "vxlan generic": lambda p: ethernet(udp(vxlan(p, 0x0C, 2 if p[:1] >= b"\x60" else 1), 4790)),
    "geneve": lambda p: ethernet(udp(struct.pack(">BBHI", 0, 0, 0x6558, 42 << 8) + ethernet(p), 6081)),
    "geneve options": lambda p: ethernet(
        udp(struct.pack(">BBHI", 2, 0, ethertype(p), 42 << 8) + bytes.fromhex("0102030100000000") + p, 6081)
    ),
    "lisp": lambda p: ethernet(udp(struct.pack(">II", 0x80000007, 1) + p, 4341, 4341)),
    "lisp with locators": lambda p: ethernet(udp(struct.pack(">II", 0xC0000007, 1) + p, 4341)),
    "gtp": lambda p: ethernet(udp(gtp(p), 2152, 2152)),
    "gtp sequence": lambda p: ethernet(udp(gtp(p, 0x32), 2152, 2152)),
    "gtp session": lambda p: ethernet(udp(_pdu_session(p), 2152, 2152)),
    "l2tp": lambda p: ethernet(udp(struct.pack(">HHH", 0x0002, 1, 2) + b"\xff\x03" + ppp(p), 1701, 1701)),
    "l2tp all fields": lambda p: ethernet(
        udp(struct.pack(">HHHHHHH", 0x4A02, 18 + len(p), 1, 2, 3, 4, 2) + b"\0\0" + ppp(p), 1701, 1701)
    ),
    "l2tp 3": lambda p: ethernet(ip(struct.pack(">II", 5, 0) + ethernet(p), 115)),
    "l2tp 3 udp": lambda p: ethernet(udp(struct.pack(">HHI", 3, 0, 5) + ethernet(p), 1701, 1701)),
    "teredo": lambda p: ethernet(udp(_teredo(p), 3544, 3544)),
    "teredo origin": lambda p: ethernet(udp(bytes.fromhex("0000f33cc6ffffb3") + _teredo(p), 3544, 3544)),
    "teredo authenticated": lambda p: ethernet(
        udp(
            bytes.fromhex("00010203") + bytes(2 + 3 + 8 + 1) + bytes.fromhex("0000f33cc6ffffb3") + _teredo(p),
            3544,
            3544,
        )
    ),
    "etherip": lambda p: ethernet(_eoip(p)),
    "tzsp": lambda p: ethernet(udp(bytes.fromhex("010000010b01aa0001") + ethernet(p), 37008)),
    "ipv6 outside": lambda p: ethernet(ip(p, 41 if p[:1] >= b"\x60" else 4, ("2001:db8::1", "2001:db8::2"))),
    "authentication header": lambda p: ethernet(
        ip(bytes([41 if p[:1] >= b"\x60" else 4, 4, 0, 0]) + bytes(20) + p, 51)
    ),
}
"""Ethernet frames around an IP packet, by the carrier between."""

LINK_CARRIERS: dict[str, tuple[int, Wrap]] = {
    "ppp": (9, lambda p: b"\xff\x03" + ppp(p)),
    "ppp bare": (9, ppp),
    "ppp hdlc": (50, lambda p: b"\xff\x03" + ppp(p)),
    "cisco hdlc": (104, lambda p: b"\x0f\x00" + struct.pack(">H", ethertype(p)) + p),
    "pppoe": (51, lambda p: struct.pack(">BBHH", 0x11, 0, 3, 2 + len(p)) + ppp(p)),
    "wifi": (105, wifi),
    "wifi qos": (105, lambda p: wifi(p, 0x82, quality=True)),
    "wifi four addresses": (105, lambda p: wifi(p, 0x03, quality=True)),
    "wifi ppi": (192, lambda p: bytes.fromhex("0000080069000000") + wifi(p)),
    "wifi radiotap": (127, lambda p: wifi(p, radiotap=True)),
}
"""Link types, and their frames around an IP packet."""


def turn_channel(payload: bytes, *, padded: bool = True) -> bytes:
    """A ChannelData message."""
    return struct.pack(">HH", 0x4001, len(payload)) + payload + bytes(-len(payload) % 4 if padded else 0)


def turn_indication(payload: bytes, kind: int = 0x0017) -> bytes:
    """A Send or Data indication: the peer's address, then the datagram."""
    peer = struct.pack(">HHBBHI", 0x0012, 8, 0, 1, 0x1234, 0x01020304)
    data = struct.pack(">HH", 0x0013, len(payload)) + payload + bytes(-len(payload) % 4)
    return struct.pack(">HHI", kind, len(peer + data), 0x2112A442) + bytes(12) + peer + data


def fragments(packet: bytes, size: int) -> list[bytes]:
    """An IP packet in fragments of `size` bytes of payload, a multiple of 8."""
    six = packet[:1] >= b"\x60"
    head, body = (packet[:40], packet[40:]) if six else (packet[:20], packet[20:])
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    found = []
    for i, piece in enumerate(pieces):
        at, more = i * size, i < len(pieces) - 1
        if six:
            own = struct.pack(">BBHI", head[6], 0, at | more, 0x12345678) + piece
            found.append(head[:4] + struct.pack(">HB", len(own), 44) + head[7:] + own)
        else:
            flags = struct.pack(">H", at // 8 | 0x2000 * more)
            found.append(head[:2] + struct.pack(">H", 20 + len(piece)) + head[4:6] + flags + head[8:] + piece)
    return found


def segment(
    payload: bytes,
    sequence: int,
    source: tuple[str, int] = ("10.8.0.1", 5060),
    destination: tuple[str, int] = ("10.8.0.2", 40_000),
    flags: int = 0x18,
) -> bytes:
    """An IP packet with one TCP segment."""
    head = struct.pack(">HHIIBBHHH", source[1], destination[1], sequence & 0xFFFFFFFF, 1, 0x50, flags, 8192, 0, 0)
    return ip(head + payload, 6, (source[0], destination[0]))
