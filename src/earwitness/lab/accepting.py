"""Connections of a port that may be open to the world: taken for as long as the listener is there.

An `accept` fails also for what concerns one connection or one moment (accept(2): the peer was gone again, the network
has an error for it, no descriptor is free). A server that ended then could be ended by any stranger.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

MOST_AT_ONCE = 32
"""Of those whom nobody knows yet. An owner has a handful; each of the others holds a descriptor until it is refused."""
_OF_THE_LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_PAUSE_S = 0.1
"""Where no descriptor is free, one has to become so."""


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
