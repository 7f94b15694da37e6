"""Probes of a path whose ends have addresses of their own: UDP echoes, and a TCP transfer as iperf3 would make one.

Each is in two halves, as the callee's end may be on another machine: there something answers or listens, here it is
probed. The caller's end connects whichever way the bytes go, as it may be behind a translator.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from earwitness.lab.host import Host
from earwitness.path.probe import (
    ANSWER_TIMEOUT_S,
    INTERVAL_S,
    LIMIT_BYTES,
    LIMIT_S,
    MOST_PROBES,
    PIECE_BYTES,
    Arrivals,
    RoundTrips,
    Throughput,
    round_trips,
)

_PAYLOAD_BYTES = 56
"""As ping sends. It begins with a zero byte, so that nobody takes it for RTP (whose first two bits are 10)."""
_NUMBER = struct.Struct("!xxxxI")
_CONNECT_TIMEOUT_S = 10.0
_ABORT = struct.pack("ii", 1, 0)

Address = tuple[str, int]


@contextmanager
def echoing(host: Host, address: str) -> Iterator[Address]:
    """Send back every probe that comes to a free port of the host's address, once, until leaving; where that is.

    The port may be open to the world. What is no probe is not answered, and none twice: else a datagram with a forged
    sender could set two such ports to answer each other. Raises `OSError` when the address is not there.
    """
    loop = asyncio.get_running_loop()
    answered: set[int] = set()
    with _bound(host, address, socket.SOCK_DGRAM) as there:

        def on_probe() -> None:
            with suppress(OSError):
                probe, sender = there.recvfrom(2048)
                number = _number_in(probe)
                if number is not None and number not in answered:
                    answered.add(number)
                    there.sendto(probe, sender)

        loop.add_reader(there, on_probe)
        try:
            yield there.getsockname()
        finally:
            loop.remove_reader(there)


async def echoes(host: Host, address: str, target: Address, count: int) -> RoundTrips:
    """Send `count` datagrams from the host's address to where `echoing` is, and time what comes back.

    Raises `OSError` when the address is not there.
    """
    loop = asyncio.get_running_loop()
    times_ms: list[float] = []
    sent_ns: dict[int, int] = {}
    all_back = asyncio.Event()
    with _bound(host, address, socket.SOCK_DGRAM) as here:

        def on_answer() -> None:
            with suppress(OSError):
                number = _number_in(here.recv(2048))
                now = time.monotonic_ns()
                if number is not None and (at_ns := sent_ns.pop(number, None)) is not None:
                    times_ms.append((now - at_ns) / 1e6)
                    if len(times_ms) == count:
                        all_back.set()

        loop.add_reader(here, on_answer)
        try:
            begun = loop.time()
            for number in range(count):
                await asyncio.sleep(begun + number * INTERVAL_S - loop.time())
                sent_ns[number] = time.monotonic_ns()
                with suppress(OSError):  # an ICMP error of an earlier one
                    here.sendto(_probe(number), target)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await all_back.wait()
        finally:
            loop.remove_reader(here)
    return round_trips(count, times_ms)


@contextmanager
def listening(host: Host, address: str, port: int = 0) -> Iterator[socket.socket]:
    """A socket that waits for a transfer's connection at the host's address. Raises `OSError`."""
    with _bound(host, address, socket.SOCK_STREAM, port) as listener:
        listener.listen(1)
        yield listener


async def serve_transfer(listener: socket.socket, *, sends: bool) -> Throughput | None:
    """The callee's half: take one connection, and send over it, or receive and tell what came.

    Raises `OSError` or `TimeoutError` where nobody connects.
    """
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    return await _carried(connection, sends)


async def make_transfer(host: Host, address: str, target: Address, *, sends: bool) -> Throughput | None:
    """The caller's half: connect from the host's address to `target`, and send, or receive and tell what came.

    Raises `OSError` or `TimeoutError` where it cannot be connected.
    """
    connection = _bound(host, address, socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(connection, target)
    except BaseException:
        connection.close()
        raise
    return await _carried(connection, sends)


async def _carried(connection: socket.socket, sends: bool) -> Throughput | None:
    connection.setblocking(False)
    with connection:
        if not sends:
            return await _receive(connection)
        # What is not delivered at the end is thrown away, not left to trickle through the path.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        with suppress(TimeoutError, ConnectionError):  # the receiver has what it wanted
            async with asyncio.timeout(_CONNECT_TIMEOUT_S + LIMIT_S):
                await _send(connection)
        return None


async def _send(connection: socket.socket) -> None:
    """Send all, and wait until the receiver hangs up."""
    loop = asyncio.get_running_loop()
    piece = bytes(PIECE_BYTES)
    for _ in range(-(-LIMIT_BYTES // PIECE_BYTES)):
        await loop.sock_sendall(connection, piece)
    connection.shutdown(socket.SHUT_WR)
    await loop.sock_recv(connection, 1)


async def _receive(connection: socket.socket) -> Throughput:
    loop = asyncio.get_running_loop()
    arrivals = Arrivals()
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_CONNECT_TIMEOUT_S) as deadline:
            while piece := await loop.sock_recv(connection, 65_536):
                if arrivals.first_ns is None:
                    deadline.reschedule(loop.time() + LIMIT_S)
                if not arrivals.add(len(piece), time.monotonic_ns()):
                    break
    return arrivals.result()


def _number_in(probe: bytes) -> int | None:
    """The number of a probe; None of what is none."""
    if len(probe) != _PAYLOAD_BYTES:
        return None
    number: int = _NUMBER.unpack_from(probe)[0]
    return number if number < MOST_PROBES and probe == _probe(number) else None


def _probe(number: int) -> bytes:
    return _NUMBER.pack(number).ljust(_PAYLOAD_BYTES, b"\0")


def _bound(host: Host, address: str, kind: socket.SocketKind, port: int = 0) -> socket.socket:
    """A socket at the host's address, at a free port unless one is given, which does not block."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
