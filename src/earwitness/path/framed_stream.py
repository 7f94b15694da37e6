"""One TCP stream of a path, carrying datagrams: framed, with a bounded queue, counted."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from earwitness.path.framing import Deframer, frame

QUEUE_DATAGRAMS = 50
"""Datagrams queued while the stream accepts none: one second of 20 ms voice. Further ones are dropped, as a UDP
network would do, and counted. In addition, the kernel buffers at most `SEND_BUFFER_BYTES`."""
SEND_BUFFER_BYTES = 32_768
_READ_BYTES = 65_536
_DEAD_AFTER_MS = 10_000


@dataclass
class Counters:
    """Counts of one flow's datagrams at one end."""

    sent: int = 0
    received: int = 0
    dropped_queue_full: int = 0
    dropped_no_stream: int = 0


def tune(connection: socket.socket) -> None:
    """Set socket options for voice: no Nagle, a small send buffer, and detection of a dead peer within seconds."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)


class StreamLink:
    """Sends and receives whole datagrams over a connected, tuned socket.

    `first` reads the greeting, before the flow is known; `serve` then names the receiver and starts the transfer.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._counters = Counters()
        self._received: Callable[[bytes], None] = lambda _datagram: None
        self._closed: Callable[[str], None] = lambda _reason: None
        self._early: list[bytes] = []
        self._deframer = Deframer()
        self._queue: deque[bytes] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()

    async def first(self, timeout_s: float, longest: int) -> bytes:
        """The first datagram, before `serve`. Raises `ConnectionError` or `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while True:
                piece = await self._loop.sock_recv(self._socket, _READ_BYTES)
                if not piece:
                    raise ConnectionError("closed before it sent a greeting")
                datagrams = self._deframer.feed(piece)
                if (len(datagrams[0]) if datagrams else self._deframer.waiting) > longest:
                    raise ConnectionError("no greeting of ours: too long")
                if datagrams:
                    self._early = datagrams[1:]
                    return datagrams[0]

    def serve(self, counters: Counters, received: Callable[[bytes], None], closed: Callable[[str], None]) -> None:
        """Start: pass each datagram to `received`, count it, and call `closed` once, with the reason."""
        self._counters, self._received, self._closed = counters, received, closed
        for datagram in self._early:
            self._deliver(datagram)
        self._loop.add_reader(self._socket, self._on_readable)

    def send(self, datagram: bytes) -> None:
        """Send or queue a datagram; drop and count it if the queue is full."""
        framed = frame(datagram)
        if self._queue:
            if len(self._queue) >= QUEUE_DATAGRAMS:
                self._counters.dropped_queue_full += 1
                return
            self._queue.append(framed)
        else:
            try:
                taken = self._socket.send(framed)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                self.close(str(error))
                return
            if taken < len(framed):
                self._queue.append(framed[taken:])
                self._empty.clear()
                self._loop.add_writer(self._socket, self._on_writable)
        self._counters.sent += 1

    async def drained(self) -> None:
        """Wait until the queue is empty or the stream is closed: back-pressure for a sender."""
        await self._empty.wait()

    def close(self, reason: str) -> None:
        """Close the stream and report the reason, once."""
        self._empty.set()
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._closed(reason)

    def _on_writable(self) -> None:
        try:
            while self._queue:
                taken = self._socket.send(self._queue[0])
                if taken < len(self._queue[0]):
                    self._queue[0] = self._queue[0][taken:]
                    return
                self._queue.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self.close(str(error))
            return
        self._empty.set()
        self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        try:
            piece = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(str(error))
            return
        if not piece:
            self.close("the other side closed the stream")
            return
        # Acknowledge at once: the sender (tor, which leaves Nagle's algorithm on) holds its next cell until then,
        # and the kernel would delay the ACK by up to 40 ms. The option lasts for one segment.
        with suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        for datagram in self._deframer.feed(piece):
            self._deliver(datagram)

    def _deliver(self, datagram: bytes) -> None:
        self._counters.received += 1
        self._received(datagram)
