"""Accepts connections on a port that may be exposed, for as long as the listener exists.

`accept` also fails for reasons of one connection or one moment (accept(2): the peer has gone, the network reported an
error for it, no descriptor is free). A server that exited then could be stopped by anybody.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable

MOST_AT_ONCE = 32
"""Maximum unverified connections. An owner needs a handful; each of the others holds a descriptor until it is
refused."""
_OF_THE_LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_PAUSE_S = 0.1
"""If no descriptor is free, wait for one."""


class UnverifiedPeers:
    """Connections whose peers have not been verified yet: at most `most` at once.

    A new one replaces the oldest one of the address with the most connections, so that nobody can keep others out by
    staying silent or by connecting often.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._numbers = itertools.count()
        self._here: dict[int, tuple[str, Callable[[], None]]] = {}

    def enter(self, peer: str, drop: Callable[[], None]) -> int:
        """Add one connection from an address; `drop` closes it if its place is needed. Returns the number for
        `leave`."""
        if len(self._here) >= self._most:
            crowd, _ = Counter(address for address, _ in self._here.values()).most_common(1)[0]
            oldest = next(number for number, (address, _) in self._here.items() if address == crowd)
            self._here.pop(oldest)[1]()
        number = next(self._numbers)
        self._here[number] = (peer, drop)
        return number

    def leave(self, number: int) -> None:
        """Remove a connection that was verified or closed; harmless if repeated."""
        self._here.pop(number, None)


async def connections(listener: socket.socket) -> AsyncIterator[tuple[socket.socket, str]]:
    """Yield each connection to a non-blocking listener with its peer's address, for ever.

    Raises `OSError` if the listener itself is broken.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, peer = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno in _OF_THE_LISTENER:
                raise
            await asyncio.sleep(_PAUSE_S)
            continue
        yield connection, peer[0]
