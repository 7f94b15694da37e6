"""The SOCKS client against a proxy that says what the test tells it to (RFC 1928, RFC 1929)."""

from __future__ import annotations

import asyncio
import socket

import pytest

from earwitness.netns.socks import SocksRefused, connect_through


async def against(reply: bytes, target: tuple[str, int]) -> tuple[bytes, bytes]:
    """What the proxy was sent, and the first bytes of the stream behind it."""
    heard = b""

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += await reader.readexactly(3)
        writer.write(b"\x05\x02")
        heard += await reader.readexactly(2 + len("user") + 1 + len("rtp"))
        writer.write(b"\x01\x00")
        heard += await reader.read(300)
        writer.write(reply + b"stream")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        try:
            await connect_through(sock, target, "user", "rtp")
            return heard, await loop.sock_recv(sock, 100)
        finally:
            server.close()


def test_literal_address_goes_as_an_address_and_the_reply_is_taken_exactly() -> None:
    heard, stream = asyncio.run(against(b"\x05\x00\x00\x01" + bytes(6), ("10.77.2.1", 4000)))
    assert heard == b"\x05\x01\x02" + b"\x01\x04user\x03rtp" + b"\x05\x01\x00\x01\x0a\x4d\x02\x01\x0f\xa0"
    assert stream == b"stream"


def test_name_goes_as_a_name() -> None:
    heard, stream = asyncio.run(against(b"\x05\x00\x00\x03\x02ab" + bytes(2), ("abc.onion", 80)))
    assert heard.endswith(b"\x05\x01\x00\x03\x09abc.onion\x00\x50")
    assert stream == b"stream"


@pytest.mark.parametrize(("code", "words"), [(1, "general"), (5, "refused"), (0xF0, "descriptor not found")])
def test_refusal_carries_the_reply(code: int, words: str) -> None:
    with pytest.raises(SocksRefused, match=words) as refused:
        asyncio.run(against(bytes([5, code, 0, 1]) + bytes(6), ("10.77.2.1", 1)))
    assert refused.value.code == code
