"""A host on another machine: its end of a path is opened there, by the Earwitness that answers there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from earwitness.netns.child import Child
from earwitness.netns.host import Host
from earwitness.path.probe import Throughput
from earwitness.path.vpn_config import Security
from earwitness.path.vpn_files import TunnelOffer
from earwitness.tor.onion import OfferedService


@runtime_checkable
class RemoteHost(Host, Protocol):
    """A host whose processes and devices are out of our hands, but for these."""

    def tunnel_device(self, number: int) -> AbstractAsyncContextManager[bool]:
        """Have the callee's device of that number (`earwitness.path.tun`); False where it is taken there."""
        ...

    async def start_forwarder(self, config: Mapping[str, Any]) -> Child:
        """Start the callee's forwarder on the device made before. The configuration is still to be sent to it."""
        ...

    async def start_tunnel(self, number: int, security: Security, *, nodelay: bool) -> tuple[TunnelOffer, Child] | None:
        """Start the callee's OpenVPN with keys of its own; the caller's part of them, and the process, whose log it is.

        None where the device of that number is taken there. Raises `CallFailure` (`TOOL_MISSING`, `PORT_TAKEN`).
        """
        ...

    def offered_onion(self) -> AbstractAsyncContextManager[OfferedService]:
        """Have the callee's tor offer the forwarder that was started to listen on loopback as an onion service.

        Raises `CallFailure` (`PATH_FAILED`) where there is no tor there, or no directory took it.
        """
        ...

    def echoing(self, interface: str) -> AbstractAsyncContextManager[int]:
        """Have the callee's end send back what comes over a device of this call; the UDP port there."""
        ...

    def taking_a_transfer(
        self, interface: str, *, sends: bool
    ) -> AbstractAsyncContextManager[tuple[int, Callable[[], Awaitable[Throughput | None]]]]:
        """Have the callee's end wait for one TCP connection over a device of this call, to send or to receive.

        The port to connect to there, and, afterwards, what it received.
        """
        ...
