"""The host at the callee's end of a path: the operations that a path needs there, on this machine or another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from earwitness.netns.child import Child
from earwitness.netns.host import Host, SocketAddress
from earwitness.path.forwarder import ForwarderConfig
from earwitness.path.openvpn import OpenVpn
from earwitness.path.probe import Throughput
from earwitness.path.vpn_config import Security
from earwitness.path.vpn_files import TunnelOffer
from earwitness.tor.description import TorNetwork

if TYPE_CHECKING:
    from earwitness.tor.onion import OfferedService


@dataclass(frozen=True)
class OnionRequest:
    """An onion service to publish at the callee."""

    target: SocketAddress
    """The port on loopback where the callee's forwarder accepts streams."""
    network: TorNetwork
    """The caller's Tor network; a callee on this machine also has a client in it."""
    single: bool = False
    """Whether it is a single onion service, which does not hide its location; in the lab only."""
    scratch: Path | None = None
    """Directory for the tor of a single onion service."""


class CalleeHost(Host, Protocol):
    """A host that can be the callee's end of a path: `LocalCallee`, or a machine that runs `earwitness answer`."""

    def tunnel_device(self, number: int) -> AbstractAsyncContextManager[int | None]:
        """Create the callee's TUN device with this number (`earwitness.path.tun`); None if the number is in use there.

        Returns its descriptor, or `FAR_DESCRIPTOR` if it is on another machine.
        """
        ...

    async def start_forwarder(self, config: ForwarderConfig) -> Child:
        """Start the callee's forwarder on the device created before. Its configuration must still be sent to it."""
        ...

    def offered_tunnel(
        self, number: int, security: Security, *, nodelay: bool, scratch: Path
    ) -> AbstractAsyncContextManager[tuple[TunnelOffer, OpenVpn] | None]:
        """Run the callee's OpenVPN with new keys; returns the caller's keys and the process.

        None if the device number is in use there. `scratch`: directory on this machine for configuration and keys.
        Raises `CallFailure` (`TOOL_MISSING`, `PORT_TAKEN`).
        """
        ...

    def offered_onion(self, request: OnionRequest) -> AbstractAsyncContextManager[OfferedService]:
        """Publish the callee's forwarder as an onion service of the callee's tor.

        Raises `CallFailure` (`PATH_FAILED`) if there is no tor there, or no directory accepted the descriptor.
        """
        ...

    def echoing(self, interface: str, address: str) -> AbstractAsyncContextManager[SocketAddress]:
        """Echo probes at an address of the path's device there; yields the address with the UDP port."""
        ...

    def taking_a_transfer(
        self, interface: str, address: str, *, sends: bool
    ) -> AbstractAsyncContextManager[tuple[SocketAddress, Callable[[], Awaitable[Throughput | None]]]]:
        """Accept one TCP connection at an address of the path's device there, to send or to receive.

        Yields the address and port to connect to, and, once the transfer is over, what was received.
        """
        ...
