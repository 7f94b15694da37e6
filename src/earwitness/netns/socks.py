"""A TCP stream through a SOCKS5 proxy (RFC 1928) with a user name and password (RFC 1929)."""

from __future__ import annotations

import asyncio
import socket

_REPLIES = {
    1: "general failure",
    2: "not allowed by rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
    0xF0: "onion service descriptor not found",
    0xF1: "onion service descriptor invalid",
    0xF2: "onion service introduction failed",
    0xF3: "onion service rendezvous failed",
    0xF4: "onion service needs client authorisation",
    0xF5: "onion service refused the client authorisation",
    0xF6: "onion address invalid",
    0xF7: "onion service introduction timed out",
}


class SocksRefused(Exception):
    """The proxy answered but did not open the stream. `code` is its reply."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"SOCKS reply {code}: {_REPLIES.get(code, 'unknown')}")


async def connect_through(connection: socket.socket, target: tuple[str, int], username: str, password: str) -> None:
    """Open a stream to `target` over an existing, non-blocking connection to the proxy.

    A literal IPv4 address is sent as an address, anything else as a name. Raises `SocksRefused`, or
    `ConnectionError` if the proxy closes the connection.
    """
    loop = asyncio.get_running_loop()
    user, secret = username.encode(), password.encode()
    await loop.sock_sendall(connection, b"\x05\x01\x02")
    if await _exactly(connection, 2) != b"\x05\x02":
        raise ConnectionError("the SOCKS proxy does not accept user names, so streams cannot be isolated")
    await loop.sock_sendall(connection, bytes([1, len(user)]) + user + bytes([len(secret)]) + secret)
    if (await _exactly(connection, 2))[1] != 0:
        raise ConnectionError("the SOCKS proxy refused the user name")
    host, port = target
    try:
        destination = b"\x01" + socket.inet_pton(socket.AF_INET, host)
    except OSError:
        name = host.encode("ascii")
        destination = bytes([3, len(name)]) + name
    await loop.sock_sendall(connection, b"\x05\x01\x00" + destination + port.to_bytes(2, "big"))
    _, code, _, kind = await _exactly(connection, 4)
    if code != 0:
        raise SocksRefused(code)
    length = {1: 4, 4: 16}.get(kind) or (await _exactly(connection, 1))[0]
    await _exactly(connection, length + 2)


async def _exactly(connection: socket.socket, count: int) -> bytes:
    """Read exactly `count` bytes; what follows belongs to the stream."""
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < count:
        piece = await loop.sock_recv(connection, count - len(got))
        if not piece:
            raise ConnectionError("the SOCKS proxy closed the connection")
        got += piece
    return got
