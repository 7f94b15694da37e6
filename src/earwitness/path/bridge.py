"""Relays TCP connections across the edge of a sandbox, for a program that opens its own sockets inside it while the
network is outside (`earwitness.netns.egress`).

Forwarders open their sockets outside the sandbox. OpenVPN cannot, so its connection ends here, on loopback, and is
relayed over a second socket. Data is passed on as it arrives, without Nagle's algorithm unless the tunnel uses it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from earwitness.errors import EarwitnessError
from earwitness.netns.accepting import MOST_AT_ONCE, connections
from earwitness.netns.egress import network_socket
from earwitness.netns.host import SocketAddress

_PIECE = 65_536
_LOCALHOST = "127.0.0.1"


@asynccontextmanager
async def way_out(target: SocketAddress, *, nodelay: bool) -> AsyncIterator[SocketAddress]:
    """An address inside the sandbox; its connections are relayed to `target` outside. Raises `OSError`."""
    with _inside() as listener:
        listener.bind((_LOCALHOST, 0))
        async with _bridging(listener, network_socket, target, nodelay):
            yield listener.getsockname()


@asynccontextmanager
async def way_in(listen: SocketAddress, target: SocketAddress, *, nodelay: bool) -> AsyncIterator[int]:
    """A port outside the sandbox (0: any); its connections are relayed to `target` inside. Raises `OSError`."""
    with network_socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(listen)
        async with _bridging(listener, _inside, target, nodelay):
            yield listener.getsockname()[1]


def _inside() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


@asynccontextmanager
async def _bridging(
    listener: socket.socket, opening: Callable[[], socket.socket], target: SocketAddress, nodelay: bool
) -> AsyncIterator[None]:
    listener.listen(4)
    listener.setblocking(False)
    bridges: dict[asyncio.Task[None], socket.socket] = {}

    def over(bridge: asyncio.Task[None]) -> None:
        bridges.pop(bridge).close()  # also for a task that was cancelled before it started

    async def accept() -> None:
        async for connection, _ in connections(listener):
            if len(bridges) >= MOST_AT_ONCE:
                connection.close()
                continue
            bridge = asyncio.create_task(_bridge(connection, opening, target, nodelay))
            bridges[bridge] = connection
            bridge.add_done_callback(over)

    accepting = asyncio.create_task(accept())
    try:
        yield
    finally:
        for task in (accepting, *bridges):
            task.cancel()
        await asyncio.gather(accepting, *bridges, return_exceptions=True)


async def _bridge(
    near: socket.socket, opening: Callable[[], socket.socket], target: SocketAddress, nodelay: bool
) -> None:
    """Relay one connection until either side closes it; then close the other side."""
    loop = asyncio.get_running_loop()
    # Closing the connection is the only way to signal a failure to a TCP client.
    with suppress(OSError, EarwitnessError), opening() as far:
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(nodelay))
        await loop.sock_connect(far, target)
        carrying = [asyncio.ensure_future(_carry(near, far)), asyncio.ensure_future(_carry(far, near))]
        try:
            await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in carrying:
                one.cancel()
            await asyncio.gather(*carrying, return_exceptions=True)


async def _carry(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while piece := await loop.sock_recv(source, _PIECE):
            await loop.sock_sendall(sink, piece)
