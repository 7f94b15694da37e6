"""Lists the networks reachable by routes, so that a new device does not take over the way to an existing network."""

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
"""Shorter prefixes (default, its two halves, 10.0.0.0/8) are catch-all routes, not specific networks."""


def networks() -> list[IPv4Network]:
    """The IPv4 networks in any routing table, including those of own addresses (rtnetlink(7), RTM_GETROUTE).

    For the calling thread's network namespace; default routes and the like are ignored.

    Raises:
        OSError: refused by the kernel.
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
    """Whether a route overlaps with this network (`10.99.1.0/24`)."""
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
