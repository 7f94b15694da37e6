"""The host at the callee's end of a path: what a path has done there, on this machine or on another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from earwitness.netns.child import Child
from earwitness.netns.host import Host, SocketAddress
from earwitness.path.forwarder import ForwarderConfig
from earwitness.path.openvpn import OpenVpn
from earwitness.path.probe import Throughput
from earwitness.path.vpn_config import Security
from earwitness.path.vpn_files import TunnelOffer
from earwitness.tor.description import TorNetwork
from earwitness.tor.onion import OfferedService


@dataclass(frozen=True)
class OnionRequest:
    """An onion service to be offered at the callee."""

    target: SocketAddress
    """Where the callee's forwarder takes its streams, on loopback."""
    network: TorNetwork
    """The network of the caller; a callee on this machine has a client in it too."""
    single: bool = False
    """Whether the service does not hide where it is; in the lab only."""
    scratch: Path | None = None
    """Directory for the tor of a single onion service."""


class CalleeHost(Host, Protocol):
    """A host where a path can have its callee's end: `LocalCallee`, or a machine where Earwitness answers."""

    def tunnel_device(self, number: int) -> AbstractAsyncContextManager[int | None]:
        """Make the callee's TUN device of that number (`earwitness.path.tun`); None where it is taken there.

        Gives its descriptor, `FAR_DESCRIPTOR` where it is on another machine.
        """
        ...

    async def start_forwarder(self, config: ForwarderConfig) -> Child:
        """Start the callee's forwarder on the device made before. The configuration is still to be sent to it."""
        ...

    def offered_tunnel(
        self, number: int, security: Security, *, nodelay: bool, scratch: Path
    ) -> AbstractAsyncContextManager[tuple[TunnelOffer, OpenVpn] | None]:
        """Run the callee's OpenVPN with keys of its own; the caller's part of them, and the process.

        None where the device of that number is taken there. `scratch`: for its configuration and keys, on this machine.
        Raises `CallFailure` (`TOOL_MISSING`, `PORT_TAKEN`).
        """
        ...

    def offered_onion(self, request: OnionRequest) -> AbstractAsyncContextManager[OfferedService]:
        """Have the callee's tor offer the callee's forwarder as an onion service.

        Raises `CallFailure` (`PATH_FAILED`) where there is no tor there, or no directory took it.
        """
        ...

    def echoing(self, interface: str, address: str) -> AbstractAsyncContextManager[SocketAddress]:
        """Send back what comes to an address of the path's device there; the address with the UDP port."""
        ...

    def taking_a_transfer(
        self, interface: str, address: str, *, sends: bool
    ) -> AbstractAsyncContextManager[tuple[SocketAddress, Callable[[], Awaitable[Throughput | None]]]]:
        """Wait for one TCP connection at an address of the path's device there, to send or to receive.

        The address with the port to connect to, and, afterwards, what it received.
        """
        ...
