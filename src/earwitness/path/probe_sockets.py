"""Probes of a path whose ends have addresses of their own: UDP echoes, and a TCP transfer as iperf3 would make one."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress

from earwitness.lab.host import Host
from earwitness.path.probe import (
    ANSWER_TIMEOUT_S,
    INTERVAL_S,
    LIMIT_BYTES,
    LIMIT_S,
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


async def echoes(caller: tuple[Host, str], callee: tuple[Host, str], count: int) -> RoundTrips:
    """Send `count` datagrams from the caller's address to the callee's and back, at ports that are free.

    Each end is a host and its address on the path. Raises `OSError` when an address is not there.
    """
    loop = asyncio.get_running_loop()
    times_ms: list[float] = []
    sent_ns: dict[int, int] = {}
    with _bound(*caller, socket.SOCK_DGRAM) as here, _bound(*callee, socket.SOCK_DGRAM) as there:
        far_end = there.getsockname()

        def on_answer() -> None:
            with suppress(OSError, struct.error, KeyError):
                number = _NUMBER.unpack_from(here.recv(2048))[0]
                times_ms.append((time.monotonic_ns() - sent_ns.pop(number)) / 1e6)

        def on_probe() -> None:
            with suppress(OSError):
                there.sendto(*there.recvfrom(2048))

        loop.add_reader(here, on_answer)
        loop.add_reader(there, on_probe)
        try:
            begun = loop.time()
            for number in range(count):
                await asyncio.sleep(begun + number * INTERVAL_S - loop.time())
                sent_ns[number] = time.monotonic_ns()
                with suppress(OSError):  # an ICMP error of an earlier one
                    here.sendto(_NUMBER.pack(number).ljust(_PAYLOAD_BYTES, b"\0"), far_end)
            deadline = loop.time() + ANSWER_TIMEOUT_S
            while len(times_ms) < count and loop.time() < deadline:
                await asyncio.sleep(0.005)
        finally:
            loop.remove_reader(here)
            loop.remove_reader(there)
    return round_trips(count, times_ms)


async def transfer(sender: tuple[Host, str], receiver: tuple[Host, str]) -> Throughput:
    """Send over one TCP connection between two hosts' addresses on the path, to the limits of `probe`.

    Raises `OSError` or `TimeoutError` when it cannot be made.
    """
    loop = asyncio.get_running_loop()
    with _bound(*receiver, socket.SOCK_STREAM) as listener, _bound(*sender, socket.SOCK_STREAM) as connection:
        listener.listen(1)
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            try:
                await loop.sock_connect(connection, listener.getsockname())
                accepted, _ = await accepting
            finally:
                accepting.cancel()
        with accepted:
            # What is not delivered at the end is thrown away, not left to trickle through the path.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            sending = asyncio.ensure_future(_send(connection))
            try:
                return await _receive(accepted)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


async def _send(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    piece = bytes(PIECE_BYTES)
    for _ in range(-(-LIMIT_BYTES // PIECE_BYTES)):
        await loop.sock_sendall(connection, piece)
    connection.shutdown(socket.SHUT_WR)


async def _receive(accepted: socket.socket) -> Throughput:
    loop = asyncio.get_running_loop()
    arrivals = Arrivals()
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_CONNECT_TIMEOUT_S) as deadline:
            while piece := await loop.sock_recv(accepted, 65_536):
                if arrivals.first_ns is None:
                    deadline.reschedule(loop.time() + LIMIT_S)
                if not arrivals.add(len(piece), time.monotonic_ns()):
                    break
    return arrivals.result()


def _bound(host: Host, address: str, kind: socket.SocketKind) -> socket.socket:
    """A socket at a free port of the host's address, which does not block."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    try:
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock
