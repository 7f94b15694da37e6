"""Connections handed across the edge of a sandbox; here both sides are this process's own network."""

from __future__ import annotations

import asyncio

import pytest

from earwitness.path.bridge import way_in, way_out

SENT = bytes(range(256)) * 4096


async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back in reverse, and hang up."""
    writer.write((await reader.readexactly(len(SENT)))[::-1])
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("direction", ["out", "in"])
def test_every_byte_passes_both_ways_and_so_does_the_end(direction: str) -> None:
    async def run() -> bytes:
        server = await asyncio.start_server(backwards, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()
        async with server:
            if direction == "out":
                async with way_out(target, nodelay=True) as (_, port):
                    return await asked(port)
            async with way_in(("127.0.0.1", 0), target, nodelay=False) as port:
                return await asked(port)

    async def asked(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(SENT)
        answer = await reader.read(-1)
        writer.close()
        return answer

    assert asyncio.run(asyncio.wait_for(run(), 30)) == SENT[::-1]


def test_where_nobody_listens_the_connection_is_ended() -> None:
    async def run() -> bytes:
        server = await asyncio.start_server(backwards, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        async with way_out(target, nodelay=True) as (host, port):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await reader.read(-1)
            except ConnectionError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(asyncio.wait_for(run(), 30)) == b""
