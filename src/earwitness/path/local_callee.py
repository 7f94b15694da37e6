"""The callee's end of a path on this machine."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earwitness.netns.child import Child
from earwitness.netns.host import Host, SocketAddress
from earwitness.path.callee_host import OnionRequest
from earwitness.path.forwarder import ForwarderConfig
from earwitness.path.forwarder_process import start_forwarder
from earwitness.path.openvpn import OpenVpn, start_openvpn, wait_listening
from earwitness.path.probe import Throughput
from earwitness.path.probe_sockets import echoing, listening, serve_transfer
from earwitness.path.tun import callee_device
from earwitness.path.tunnel_numbers import free_port, is_taken_at
from earwitness.path.vpn_config import Security, Tunnel
from earwitness.path.vpn_files import SERVER, TunnelOffer, server_files

if TYPE_CHECKING:
    from earwitness.tor.onion import OfferedService


@dataclass(frozen=True)
class LocalCallee:
    """A host of this machine as an `earwitness.path.callee_host.CalleeHost`."""

    host: Host

    @property
    def name(self) -> str:
        """As the host's."""
        return self.host.name

    @property
    def place(self) -> str:
        """As the host's."""
        return self.host.place

    @property
    def address(self) -> str:
        """As the host's."""
        return self.host.address

    @property
    def interface(self) -> str:
        """As the host's."""
        return self.host.interface

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """As the host's."""
        return self.host.popen(argv, **options)

    def inside(self) -> AbstractContextManager[None]:
        """As the host's."""
        return self.host.inside()

    @asynccontextmanager
    async def tunnel_device(self, number: int) -> AsyncIterator[int | None]:
        """The device; it is removed on leaving, once all copies of its descriptor are closed."""
        with callee_device(self.host, number) as descriptor:
            yield descriptor

    async def start_forwarder(self, config: ForwarderConfig) -> Child:
        """A process on the host."""
        return await start_forwarder(self.host, config)

    @asynccontextmanager
    async def offered_tunnel(
        self, number: int, security: Security, *, nodelay: bool, scratch: Path
    ) -> AsyncIterator[tuple[TunnelOffer, OpenVpn] | None]:
        """A process on the host, at any free port of its address."""
        if is_taken_at(self.host, number):
            yield None
            return
        with ExitStack() as files:
            port = free_port(self.host, self.address)
            tunnel = Tunnel(server=self.address, port=port, security=security, nodelay=nodelay, number=number)
            folder, offer = files.enter_context(server_files(scratch, tunnel))
            async with OpenVpn.over(self.host, await start_openvpn(self.host, folder, SERVER)) as end:
                await wait_listening(end)
                files.close()  # it has read its keys by now
                yield offer, end

    @asynccontextmanager
    async def offered_onion(self, request: OnionRequest) -> AsyncIterator[OfferedService]:
        """Published by the host's tor, or by one started for a single onion service."""
        from earwitness.tor.onion import offered_service
        from earwitness.tor.single import single_onion_service

        client = request.network.client(self.name)
        if not request.single:
            async with offered_service(client.control, request.target) as offered:
                yield offered
            return
        assert request.scratch is not None
        async with single_onion_service(self.host, client, request.scratch, request.target) as offered_alone:
            yield offered_alone

    @asynccontextmanager
    async def echoing(self, interface: str, address: str) -> AsyncIterator[SocketAddress]:
        """By this process."""
        with echoing(self.host, address) as target:
            yield target

    @asynccontextmanager
    async def taking_a_transfer(
        self, interface: str, address: str, *, sends: bool
    ) -> AsyncIterator[tuple[SocketAddress, Callable[[], Awaitable[Throughput | None]]]]:
        """By this process."""
        with listening(self.host, address) as listener:
            serving = asyncio.ensure_future(serve_transfer(listener, sends=sends))
            try:
                yield listener.getsockname(), lambda: serving
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
