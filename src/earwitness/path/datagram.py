"""UDP datagrams in IPv4 packets, as read from and written to a TUN device (RFC 791, RFC 768)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

LONGEST_PAYLOAD = 0xFFFF - 20 - 8
"""Largest UDP payload of one IPv4 packet, in bytes."""
_UDP = 17
_TTL = 64
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF
_IP = struct.Struct("!BBHHHBBH4s4s")
_PORTS = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram: addresses as 4 bytes each, ports, payload."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    payload: bytes


class NotUdp(Exception):
    """The packet is not a whole UDP datagram over IPv4; the message names its kind."""


def parse_datagram(packet: bytes) -> Datagram:
    """The datagram in an IP packet. Raises `NotUdp` for anything else. Checksums are left to the kernel."""
    if len(packet) < 28 or packet[0] >> 4 != 4:
        raise NotUdp("ipv6" if packet and packet[0] >> 4 == 6 else "short")
    header = (packet[0] & 0x0F) * 4
    if packet[9] != _UDP:
        raise NotUdp({1: "icmp", 2: "igmp", 6: "tcp"}.get(packet[9], f"protocol {packet[9]}"))
    if (packet[6] << 8 | packet[7]) & _MORE_FRAGMENTS_OR_OFFSET:
        raise NotUdp("fragment")
    if header < 20 or len(packet) < header + 8:
        raise NotUdp("short")
    source_port, destination_port, length, _ = _PORTS.unpack_from(packet, header)
    if length < 8 or header + length > len(packet):
        raise NotUdp("short")
    return Datagram(packet[12:16], packet[16:20], source_port, destination_port, packet[header + 8 : header + length])


def build_datagram(datagram: Datagram, identification: int) -> bytes:
    """The datagram as an IP packet with valid checksums. `identification` is the IP header's, modulo 2^16."""
    length = 8 + len(datagram.payload)
    ip = _IP.pack(
        0x45, 0, 20 + length, identification & 0xFFFF, 0, _TTL, _UDP, 0, datagram.source, datagram.destination
    )
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    ports = (datagram.source_port, datagram.destination_port, length)
    pseudo = datagram.source + datagram.destination + struct.pack("!HH", _UDP, length)
    # A checksum that comes out as zero is sent as all ones; zero would say "none" (RFC 768).
    total = checksum(pseudo + _PORTS.pack(*ports, 0) + datagram.payload) or 0xFFFF
    return ip + _PORTS.pack(*ports, total) + datagram.payload


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data, as 16 bits."""
    if len(data) % 2:
        data += b"\0"
    # The ones' complement sum of 16-bit words equals the whole number that they form, modulo 2^16 - 1.
    remainder = int.from_bytes(data, "big") % 0xFFFF
    if remainder == 0 and any(data):
        return 0
    return 0xFFFF - remainder


def address_bytes(address: str) -> bytes:
    """A dotted IPv4 address as 4 bytes."""
    return socket.inet_aton(address)
