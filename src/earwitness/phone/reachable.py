"""Where a phone may send to, whatever the other end requests: Contact, Record-Route and SDP are untrusted.

Pure: takes addresses, returns a reason or nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from earwitness.netns.host import SocketAddress
from earwitness.untrusted import shown


class Unreachable(OSError):
    """This phone does not send to this address; the text says why."""


@dataclass(frozen=True)
class Reach:
    """The addresses that one phone may send to.

    Never loopback (unless the phone itself uses it), link-local (RFC 3927), multicast, broadcast or reserved ones: what
    listens there belongs to this machine or its provider, and is not a phone.
    """

    own: str
    """The address that the phone is bound to."""
    peers: Collection[str] = ()
    """If given, the only addresses allowed: the other end of the path, and the SIP server."""

    def check(self, target: SocketAddress) -> SocketAddress:
        """Return the target if this phone may send to it. Raises `Unreachable`."""
        host, port = target
        if not 0 < port < 65536:
            raise Unreachable(f"{host}: {shown(port)} is not a port")
        if (why := self._why_not(host)) is not None:
            raise Unreachable(f"{shown(host)[1:-1]} {why}")
        return target

    def hears(self, source: str) -> bool:
        """Whether datagrams from an address may be part of the call."""
        return not self.peers or source in self.peers

    def _why_not(self, host: str) -> str | None:
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            return "is not an IPv4 address"
        if self.peers and host not in self.peers:
            return f"is not the other end of the path ({', '.join(sorted(self.peers))})"
        own = ipaddress.ip_address(self.own)
        for kind in ("is_loopback", "is_link_local"):
            if getattr(address, kind) and not getattr(own, kind):
                return f"is {kind[3:].replace('_', '-')}, to which this phone never sends"
        if address.is_multicast or address.is_unspecified or address.is_reserved:
            return "is not the address of a single machine"
        return None
