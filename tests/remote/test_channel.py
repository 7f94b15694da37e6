"""The channel: every message once and in order, however often its connections break."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.remote.channel import LONGEST_BLOB, Channel, Message, ProtocolError, encode, read

KEYS = st.text(max_size=8).filter(lambda key: key != "bytes")
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.lists(st.integers(), max_size=3)
MESSAGES = st.tuples(st.dictionaries(KEYS, VALUES, max_size=4), st.binary(max_size=200))


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@settings(max_examples=30, deadline=None)
@given(st.lists(MESSAGES, max_size=5))
def test_messages_survive_the_wire(messages: list[tuple[Message, bytes]]) -> None:
    async def back() -> list[tuple[Message, bytes]]:
        reader = reader_of(b"".join(encode(message, blob) for message, blob in messages))
        return [await read(reader) for _ in messages]

    assert asyncio.run(back()) == messages


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON\n",
        b"[" * 100_000 + b"\n",
        b"[1]\n",
        b"7\n",
        b'{"half": ',
        b'{"bytes": 9}\nshort',
        b'{"bytes": -1}\n',
        b'{"bytes": "9"}\n123456789',
        b'{"bytes": %d}\n' % (LONGEST_BLOB + 1),
    ],
)
def test_what_is_no_message_is_a_connection_error(data: bytes) -> None:
    async def one() -> None:
        await read(reader_of(data))

    with pytest.raises(ConnectionError):
        asyncio.run(one())


class Side:
    """One side over connections that a test breaks."""

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.channel = Channel(lambda message, blob: self.got.append((message["value"], blob)))


@pytest.mark.parametrize("seed", range(4))
def test_every_message_once_and_in_order_over_connections_that_break(seed: int) -> None:
    chance = random.Random(seed)

    async def scene() -> tuple[Side, Side, int]:
        near, remote = Side(), Side()
        breaks = 0

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, TimeoutError):
                await remote.channel.carry(reader, writer, near.channel.received)
            writer.transport.abort()
            gone.set()

        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sent = 0
        while sent < 300 or len(near.got) < 300 or len(remote.got) < 300:
            gone = asyncio.Event()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            carrying = asyncio.create_task(near.channel.carry(reader, writer, remote.channel.received))
            for _ in range(min(chance.randrange(1, 60), 300 - sent)):
                blob = chance.randbytes(chance.choice((0, 0, 3, 70_000)))
                near.channel.send({"value": sent}, blob)
                remote.channel.send({"value": -sent}, blob)
                sent += 1
            await asyncio.sleep(chance.choice((0.0, 0.002, 0.02)))
            writer.transport.abort()
            await asyncio.gather(carrying, return_exceptions=True)
            await gone.wait()
            breaks += 1
        server.close()
        return near, remote, breaks

    near, remote, breaks = asyncio.run(scene())
    assert [value for value, _ in remote.got] == list(range(300))
    assert [value for value, _ in near.got] == [-value for value in range(300)]
    assert [blob for _, blob in near.got] == [blob for _, blob in remote.got]
    assert breaks > 2


def test_the_other_side_cannot_have_what_was_never_sent_or_lack_what_it_had_acknowledged() -> None:
    async def scene(they_have: int) -> None:
        channel = Channel(lambda message, blob: None)
        channel.send({"value": 1})
        channel.send({"value": 2})
        channel._take({"ack": 1}, b"")
        await channel.carry(reader_of(b""), None, they_have)  # type: ignore[arg-type]  # it refuses before it writes

    for they_have in (0, 3):
        with pytest.raises(ProtocolError):
            asyncio.run(scene(they_have))


def test_a_gap_in_the_numbers_ends_the_connection() -> None:
    channel = Channel(lambda message, blob: None)
    channel._take({"n": 1}, b"")
    channel._take({"n": 1}, b"")  # again: it was sent twice
    assert channel.received == 1
    with pytest.raises(ProtocolError):
        channel._take({"n": 3}, b"")


@pytest.mark.parametrize(
    "message", [{"n": "1"}, {"n": 1, "value": {}}, {"n": 1}, {"ack": "1"}, {"ack": 1}, {"ack": None}]
)
def test_what_is_not_to_be_understood_ends_the_connection_and_nothing_else(message: Message) -> None:
    def deliver(message: Message, blob: bytes) -> None:
        float(message["value"])

    channel = Channel(deliver)
    with pytest.raises(ProtocolError):
        channel._take(message, b"")
    channel._take({"n": channel.received + 1, "value": 7}, b"")


@pytest.mark.parametrize("steps", range(8))
def test_a_cancellation_that_comes_with_a_message_is_not_forgotten(steps: int) -> None:
    async def scene() -> bool:
        reader = asyncio.StreamReader()

        async def reading() -> None:
            while True:
                await read(reader)

        task = asyncio.create_task(reading())
        await asyncio.sleep(0.01)
        reader.feed_data(encode({"value": 1}))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        return task.cancelled()

    assert asyncio.run(scene())
