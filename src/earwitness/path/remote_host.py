"""A host on another machine: the Earwitness that answers there opens its end of a path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from earwitness.netns.child import Child
from earwitness.netns.host import Host
from earwitness.path.probe import Throughput
from earwitness.path.vpn_config import Security
from earwitness.path.vpn_files import TunnelOffer

if TYPE_CHECKING:
    from earwitness.tor.onion import OfferedService


@runtime_checkable
class RemoteHost(Host, Protocol):
    """A host on another machine, which offers only these operations."""

    def tunnel_device(self, number: int) -> AbstractAsyncContextManager[bool]:
        """Create the callee's device with this number (`earwitness.path.tun`); False if it is in use there."""
        ...

    async def start_forwarder(self, config: Mapping[str, Any]) -> Child:
        """Start the callee's forwarder on the device created before. Its configuration must still be sent to it."""
        ...

    async def start_tunnel(self, number: int, security: Security, *, nodelay: bool) -> tuple[TunnelOffer, Child] | None:
        """Start the callee's OpenVPN with new keys; returns the caller's keys and the process, which yields its log.

        None if the device number is in use there. Raises `CallFailure` (`TOOL_MISSING`, `PORT_TAKEN`).
        """
        ...

    def offered_onion(self) -> AbstractAsyncContextManager[OfferedService]:
        """Publish the forwarder, which must listen on loopback, as an onion service of the callee's tor.

        Raises `CallFailure` (`PATH_FAILED`) if there is no tor there, or no directory accepted the descriptor.
        """
        ...

    def echoing(self, interface: str) -> AbstractAsyncContextManager[int]:
        """Have the callee's end echo probes over a device of this call; yields the UDP port there."""
        ...

    def taking_a_transfer(
        self, interface: str, *, sends: bool
    ) -> AbstractAsyncContextManager[tuple[int, Callable[[], Awaitable[Throughput | None]]]]:
        """Have the callee's end accept one TCP connection over a device of this call, to send or to receive.

        Yields the port to connect to there, and, once the transfer is over, what was received.
        """
        ...
