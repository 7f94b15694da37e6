"""What a network namespace has routes to, so that a new device does not take the way to a network that is there."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Network

_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_NLM_F_REQUEST_DUMP = 0x1 | 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTA_DST = 1
_LEAST_PREFIX = 9
"""Shorter ones (default, the two halves of everything, 10.0.0.0/8) say where the rest goes, not who is there."""


def networks() -> list[IPv4Network]:
    """The IPv4 networks that any routing table leads to, those of our own addresses too (rtnetlink(7), RTM_GETROUTE).

    Of the calling thread's network namespace; default routes and the like are left out.

    Raises:
        OSError: the kernel refused.
    """
    header = struct.pack("=IHHII", 28, _RTM_GETROUTE, _NLM_F_REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(header + struct.pack("=B11x", socket.AF_INET))
        found: set[IPv4Network] = set()
        while True:
            for kind, body in _messages(netlink.recv(1 << 20)):
                if kind == _NLMSG_DONE:
                    return sorted(found)
                if kind == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, "reading the routes")
                if kind == _RTM_NEWROUTE and (network := _destination(body)) is not None:
                    found.add(network)


def network_in_use(network: str) -> bool:
    """Whether a route leads to a part of this network (`10.99.1.0/24`), or to one that it is a part of."""
    wanted = IPv4Network(network, strict=False)
    return any(wanted.overlaps(there) for there in networks())


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            return
        yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _destination(body: bytes) -> IPv4Network | None:
    family, prefix = struct.unpack_from("=BB", body)
    if family != socket.AF_INET or prefix < _LEAST_PREFIX:
        return None
    at = 12
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            return None
        if kind == _RTA_DST and length == 8:
            return IPv4Network((body[at + 4 : at + 8], prefix), strict=False)
        at += (length + 3) & ~3
    return None
