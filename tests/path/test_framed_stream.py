from __future__ import annotations

import asyncio
import socket

import pytest

from earwitness.path.framed_stream import QUEUE_DATAGRAMS, SEND_BUFFER_BYTES, Counters, StreamLink, tune
from earwitness.path.framing import Deframer, frame


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tune(near)
    far.setblocking(False)
    return near, far


def test_stream_that_takes_nothing_drops_beyond_the_bound_and_later_delivers_the_rest_in_order() -> None:
    async def scenario() -> None:
        near, far = connected()
        link, counters = StreamLink(near), Counters()
        link.serve(counters, lambda _datagram: None, lambda _reason: None)
        sent = 4000
        for number in range(sent):
            link.send(number.to_bytes(4, "big") + bytes(500))
        assert counters.sent + counters.dropped_queue_full == sent
        assert counters.dropped_queue_full > 0
        deframer, got = Deframer(), list[bytes]()
        loop = asyncio.get_running_loop()
        while len(got) < counters.sent:
            async with asyncio.timeout(5):
                got += deframer.feed(await loop.sock_recv(far, 65536))
        numbers = [int.from_bytes(datagram[:4], "big") for datagram in got]
        assert numbers == list(range(counters.sent))  # the oldest are kept, whole and in order
        link.send(b"once more")
        async with asyncio.timeout(5):
            assert deframer.feed(await loop.sock_recv(far, 65536)) == [b"once more"]
        link.close("done")
        far.close()

    asyncio.run(scenario())


def test_what_waits_is_bounded() -> None:
    async def scenario() -> None:
        near, far = connected()
        link, counters = StreamLink(near), Counters()
        link.serve(counters, lambda _datagram: None, lambda _reason: None)
        for _ in range(4000):
            link.send(bytes(500))
        held_by_kernels = near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) + far.getsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF
        )
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER_BYTES  # socket(7): doubled
        assert counters.sent * 502 <= held_by_kernels + (QUEUE_DATAGRAMS + 1) * 502
        link.close("done")
        far.close()

    asyncio.run(scenario())


def test_close_is_told_once_with_its_reason() -> None:
    async def scenario() -> None:
        near, far = connected()
        link, reasons = StreamLink(near), list[str]()
        link.serve(Counters(), lambda _datagram: None, reasons.append)
        far.close()
        await asyncio.sleep(0.05)
        link.close("again")
        assert reasons == ["the other side closed the stream"]

    asyncio.run(scenario())


def test_datagrams_that_came_with_the_greeting_are_not_lost() -> None:
    async def scenario() -> None:
        near, far = connected()
        link, got, counters = StreamLink(near), list[bytes](), Counters()
        far.send(frame(b"hello") + frame(b"one") + frame(b"two")[:3])
        assert await link.first(5.0, 100) == b"hello"
        link.serve(counters, got.append, lambda _reason: None)
        far.send(frame(b"two")[3:])
        await asyncio.sleep(0.05)
        assert got == [b"one", b"two"]
        assert counters.received == 2
        link.close("done")
        far.close()

    asyncio.run(scenario())


def test_greeting_that_never_ends_is_refused() -> None:
    async def scenario() -> None:
        near, far = connected()
        far.send(b"GET / HTTP/1.1\r\n" + bytes(2000))
        with pytest.raises(ConnectionError, match="no greeting of ours"):
            await StreamLink(near).first(5.0, 1024)
        near.close()
        far.close()

    asyncio.run(scenario())
