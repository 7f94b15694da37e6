"""Where a phone may send to, whatever the other end says: Contact, Record-Route and SDP are a stranger's word.

Pure: addresses in, a reason or nothing out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from earwitness.netns.host import SocketAddress
from earwitness.untrusted import shown


class Unreachable(OSError):
    """An address that this phone does not send to, and why."""


@dataclass(frozen=True)
class Reach:
    """The addresses that one phone may send to.

    Never loopback (unless the phone itself is there), link-local (RFC 3927), multicast, broadcast or reserved ones:
    what listens there is this machine's or its provider's, and no phone.
    """

    own: str
    """The address that the phone is bound to."""
    peers: Collection[str] = ()
    """The only ones, where given: the other end of the path, and the SIP server."""

    def check(self, target: SocketAddress) -> SocketAddress:
        """The target, where this phone may send to it. Raises `Unreachable`."""
        host, port = target
        if not 0 < port < 65536:
            raise Unreachable(f"{host}: no such port as {shown(port)}")
        if (why := self._why_not(host)) is not None:
            raise Unreachable(f"{shown(host)[1:-1]} {why}")
        return target

    def hears(self, source: str) -> bool:
        """Whether what comes from an address may be part of the call."""
        return not self.peers or source in self.peers

    def _why_not(self, host: str) -> str | None:
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            return "is no IPv4 address"
        if self.peers and host not in self.peers:
            return f"is not the other end of the path ({', '.join(sorted(self.peers))})"
        own = ipaddress.ip_address(self.own)
        for kind in ("is_loopback", "is_link_local"):
            if getattr(address, kind) and not getattr(own, kind):
                return f"is {kind[3:].replace('_', '-')}, where this phone sends nothing"
        if address.is_multicast or address.is_unspecified or address.is_reserved:
            return "is no address of one machine"
        return None
