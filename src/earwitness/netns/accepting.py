"""Connections of a port that may be open to the world: taken for as long as the listener is there.

An `accept` fails also for what concerns one connection or one moment (accept(2): the peer was gone again, the network
has an error for it, no descriptor is free). A server that ended then could be ended by any stranger.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable

MOST_AT_ONCE = 32
"""Of those whom nobody knows yet. An owner has a handful; each of the others holds a descriptor until it is refused."""
_OF_THE_LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_PAUSE_S = 0.1
"""Where no descriptor is free, one has to become so."""


class Unproven:
    """Connections of whom nobody knows yet who they are: `most` at once.

    A newcomer takes the place of the oldest one of the address that has most of them, so that nobody keeps others out
    by saying nothing, nor by coming often.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._numbers = itertools.count()
        self._here: dict[int, tuple[str, Callable[[], None]]] = {}

    def enter(self, peer: str, drop: Callable[[], None]) -> int:
        """One more, from an address; `drop` ends it when its place is needed. The number to `leave` with."""
        if len(self._here) >= self._most:
            crowd, _ = Counter(address for address, _ in self._here.values()).most_common(1)[0]
            oldest = next(number for number, (address, _) in self._here.items() if address == crowd)
            self._here.pop(oldest)[1]()
        number = next(self._numbers)
        self._here[number] = (peer, drop)
        return number

    def leave(self, number: int) -> None:
        """It is known who that one is, or it is gone; twice does no harm."""
        self._here.pop(number, None)


async def connections(listener: socket.socket) -> AsyncIterator[tuple[socket.socket, str]]:
    """Each connection that comes to a listener that does not block, and its peer's address, for ever.

    Raises `OSError` where the listener itself is broken.
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
