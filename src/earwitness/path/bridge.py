"""TCP connections handed across the edge of a sandbox: a program that opens its own sockets runs inside, the network
that leads to others is outside (`earwitness.lab.bubble`).

Forwarders open their sockets outside by themselves. OpenVPN cannot, so a connection of its ends here, on loopback, and
goes on over a socket of ours; each piece is passed on as it comes, without Nagle's algorithm unless the tunnel has it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from earwitness.lab.bubble import network_socket

_PIECE = 65_536
_LOCALHOST = "127.0.0.1"

Address = tuple[str, int]


@asynccontextmanager
async def way_out(target: Address, *, nodelay: bool) -> AsyncIterator[Address]:
    """An address inside whose connections go on to `target` outside, until leaving. Raises `OSError`."""
    with _inside() as listener:
        listener.bind((_LOCALHOST, 0))
        async with _bridging(listener, network_socket, target, nodelay):
            yield listener.getsockname()


@asynccontextmanager
async def way_in(listen: Address, target: Address, *, nodelay: bool) -> AsyncIterator[int]:
    """A port outside (0: any) whose connections go on to `target` inside, until leaving. Raises `OSError`."""
    with network_socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(listen)
        async with _bridging(listener, _inside, target, nodelay):
            yield listener.getsockname()[1]


def _inside() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


@asynccontextmanager
async def _bridging(
    listener: socket.socket, opening: Callable[[], socket.socket], target: Address, nodelay: bool
) -> AsyncIterator[None]:
    listener.listen(4)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(_bridge(connection, opening(), target, nodelay))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async with AsyncExitStack() as stack:

        async def stop() -> None:
            for task in (accepting, *tasks):
                task.cancel()
            await asyncio.gather(accepting, *tasks, return_exceptions=True)

        accepting = asyncio.create_task(accept())
        stack.push_async_callback(stop)
        yield


async def _bridge(near: socket.socket, far: socket.socket, target: Address, nodelay: bool) -> None:
    """Carry one connection until either side ends it; then the other is ended too."""
    loop = asyncio.get_running_loop()
    with near, far, suppress(OSError):
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
