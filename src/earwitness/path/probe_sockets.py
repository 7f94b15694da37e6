"""Probes of a path whose ends have IP addresses: UDP echoes, and a TCP transfer like iperf3's.

Each has two halves, because the callee's end may be on another machine: that end answers or listens, this end probes.
The caller always connects, whichever direction is measured, because it may be behind NAT.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from earwitness.capture.agent import SO_TIMESTAMPNS, stamp_of
from earwitness.capture.clock import sample_clocks
from earwitness.netns.host import Host, SocketAddress
from earwitness.path.probe import (
    ANSWER_TIMEOUT_S,
    INTERVAL_S,
    LIMIT_BYTES,
    LIMIT_S,
    MOST_PROBES,
    PIECE_BYTES,
    RoundTrips,
    Throughput,
    TransferArrivals,
    summarise_round_trips,
)

_PAYLOAD_BYTES = 56
"""Payload size of ping. The probe begins with a zero byte, so it cannot be taken for RTP (first two bits 10)."""
_NUMBER_AND_HELD = struct.Struct("!xxxxIQ")
"""Number of the probe, and in its answer the time in ns that the answering end held it: from the kernel's timestamp of
its arrival until it was sent back. Otherwise a process waiting for a processor would count as delay of the path."""
_LONGEST_WAIT_NS = 2_000_000_000
"""Longest plausible time between a datagram's arrival and its reading."""
_CONNECT_TIMEOUT_S = 10.0
_ABORT = struct.pack("ii", 1, 0)


@contextmanager
def echoing(host: Host, address: str) -> Iterator[SocketAddress]:
    """Answer each probe that arrives at a free port of the host's address, once, until leaving; yields the address.

    The port may be open to the Internet. Only probes are answered, each only once; otherwise a datagram with a forged
    sender could make two such ports answer each other for ever. Raises `OSError` if the host lacks the address.
    """
    loop = asyncio.get_running_loop()
    answered: set[int] = set()
    with _bound(host, address, socket.SOCK_DGRAM) as there:

        def on_probe() -> None:
            with suppress(OSError):
                probe, sender, arrived_ns = _received(there)
                number, held_ns = _numbers_in(probe)
                if number is not None and held_ns == 0 and number not in answered:
                    answered.add(number)
                    there.sendto(_probe(number, max(1, time.monotonic_ns() - arrived_ns)), sender)

        loop.add_reader(there, on_probe)
        try:
            yield there.getsockname()
        finally:
            loop.remove_reader(there)


async def echoes(host: Host, address: str, target: SocketAddress, count: int) -> RoundTrips:
    """Send `count` datagrams from the host's address to the address of `echoing`, and time the answers.

    Arrivals are timed by the kernel at both ends, so the times exclude delays of the two processes.
    Raises `OSError` if the host lacks the address.
    """
    loop = asyncio.get_running_loop()
    times_ms: list[float] = []
    sent_ns: dict[int, int] = {}
    all_back = asyncio.Event()
    with _bound(host, address, socket.SOCK_DGRAM) as here:

        def on_answer() -> None:
            with suppress(OSError):
                answer, _, arrived_ns = _received(here)
                number, held_ns = _numbers_in(answer)
                if number is not None and held_ns and (at_ns := sent_ns.pop(number, None)) is not None:
                    times_ms.append(max(0, arrived_ns - at_ns - held_ns) / 1e6)
                    if len(times_ms) == count:
                        all_back.set()

        loop.add_reader(here, on_answer)
        try:
            begun = loop.time()
            for number in range(count):
                await asyncio.sleep(begun + number * INTERVAL_S - loop.time())
                sent_ns[number] = time.monotonic_ns()
                with suppress(OSError):  # an ICMP error caused by an earlier one
                    here.sendto(_probe(number), target)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await all_back.wait()
        finally:
            loop.remove_reader(here)
    return summarise_round_trips(count, times_ms)


@contextmanager
def listening(host: Host, address: str, port: int = 0) -> Iterator[socket.socket]:
    """A socket that waits for a transfer's connection at the host's address. Raises `OSError`."""
    with _bound(host, address, socket.SOCK_STREAM, port) as listener:
        listener.listen(1)
        yield listener


async def serve_transfer(listener: socket.socket, *, sends: bool) -> Throughput | None:
    """The callee's half: accept one connection and send over it, or receive and return what arrived.

    Raises `OSError`, or `TimeoutError` if the caller does not connect.
    """
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    return await _carried(connection, sends)


async def make_transfer(host: Host, address: str, target: SocketAddress, *, sends: bool) -> Throughput | None:
    """The caller's half: connect from the host's address to `target` and send, or receive and return what arrived.

    Raises `OSError` or `TimeoutError` if it cannot connect.
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
        # Discard undelivered data on closing; it must not keep loading the path.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        with suppress(TimeoutError, ConnectionError):  # the receiver has enough and closed the connection
            async with asyncio.timeout(_CONNECT_TIMEOUT_S + LIMIT_S):
                await _send(connection)
        return None


async def _send(connection: socket.socket) -> None:
    """Send everything, and wait until the receiver closes the connection."""
    loop = asyncio.get_running_loop()
    piece = bytes(PIECE_BYTES)
    for _ in range(-(-LIMIT_BYTES // PIECE_BYTES)):
        await loop.sock_sendall(connection, piece)
    connection.shutdown(socket.SHUT_WR)
    await loop.sock_recv(connection, 1)


async def _receive(connection: socket.socket) -> Throughput:
    loop = asyncio.get_running_loop()
    arrivals = TransferArrivals()
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_CONNECT_TIMEOUT_S) as deadline:
            while piece := await loop.sock_recv(connection, 65_536):
                if arrivals.first_ns is None:
                    deadline.reschedule(loop.time() + LIMIT_S)
                if not arrivals.add(len(piece), time.monotonic_ns()):
                    break
    return arrivals.result()


def _received(sock: socket.socket) -> tuple[bytes, SocketAddress, int]:
    """A datagram, its sender, and its arrival time by the kernel's timestamp (CLOCK_MONOTONIC, ns)."""
    data, ancillary, _, sender = sock.recvmsg(2048, 64)
    realtime_ns, now_ns = sample_clocks()
    stamp_ns = stamp_of(ancillary)
    waited_ns = 0 if stamp_ns is None else realtime_ns - stamp_ns
    # A larger or negative value means that the clock was set meanwhile.
    return data, sender, now_ns - waited_ns if 0 <= waited_ns < _LONGEST_WAIT_NS else now_ns


def _numbers_in(datagram: bytes) -> tuple[int, int] | tuple[None, None]:
    """The probe's number, and how long its answer was held, in ns (0 for a probe); Nones for other datagrams."""
    if len(datagram) != _PAYLOAD_BYTES:
        return None, None
    number, held_ns = _NUMBER_AND_HELD.unpack_from(datagram)
    return (number, held_ns) if number < MOST_PROBES and datagram == _probe(number, held_ns) else (None, None)


def _probe(number: int, held_ns: int = 0) -> bytes:
    return _NUMBER_AND_HELD.pack(number, held_ns).ljust(_PAYLOAD_BYTES, b"\0")


def _bound(host: Host, address: str, kind: socket.SocketKind, port: int = 0) -> socket.socket:
    """A non-blocking socket at the host's address, at a free port unless one is given."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, int(kind == socket.SOCK_DGRAM))
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
