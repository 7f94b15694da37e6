"""Messages over a control connection that may break: numbered, acknowledged, sent again over the next connection.

On the wire a message is one line of JSON, followed by as many raw bytes as its `bytes` says (files travel so).
`n` numbers messages from 1 in each direction; `ack` is the last number received. What was not acknowledged when a
connection broke is sent again over the next, in order, so that to both sides the channel is one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from earwitness.untrusted import shown

HEARTBEAT_S = 1.0
DEAD_AFTER_S = 6.0
"""A connection over which nothing came for so long, not even a heartbeat, is taken to be cut."""
LONGEST_LINE = 4 * 1024 * 1024
"""Of the answering side: a phone's report is the longest there is. (A line of brackets becomes 25 times as much.)"""
LONGEST_REQUEST = 64 * 1024
"""Of the calling side."""
LONGEST_BLOB = 8 * 1024 * 1024
MOST_UNREAD = 32 * 1024 * 1024
"""Bytes of ours that the other side has not said to have, or that wait to be sent: who lets more wait does not read."""
_ACKNOWLEDGE_EVERY = 1 << 20
"""Bytes that came; besides with each heartbeat."""
_PIECE = 32 * 1024
"""Of a long message at least so much must come in each `DEAD_AFTER_S`."""

Message = dict[str, Any]
MessageCheck = Callable[[Message], Message]
"""Reads a message as a stranger's: gives what may be believed of it, or raises `ValueError`."""
LaterResult = Callable[[], Awaitable[Any]]
"""Asks for the result of what was opened before."""
Deliver = Callable[[Message, bytes], None]
Pacing = Callable[[], Awaitable[None]]


def unchecked(message: Message) -> Message:
    """A message whose receiver checks it."""
    return message


async def _at_any_pace() -> None:
    """As fast as it comes."""


class ProtocolError(ConnectionError):
    """The other side does not keep to the protocol; the connection cannot be used any more."""


def encode(message: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """A message as it goes over the wire."""
    values = {**message, "bytes": len(blob)} if blob else message
    return json.dumps(values, separators=(",", ":")).encode() + b"\n" + blob


async def read(reader: asyncio.StreamReader, patience_s: float = DEAD_AFTER_S) -> tuple[Message, bytes]:
    """The next message and its raw bytes; raises as `read_sized`."""
    message, blob, _ = await read_sized(reader, patience_s)
    return message, blob


async def read_sized(reader: asyncio.StreamReader, patience_s: float = DEAD_AFTER_S) -> tuple[Message, bytes, int]:
    """The next message, its raw bytes, and how many bytes it took on the wire.

    Raises `ConnectionError` at the end of the stream and for what is no message, `TimeoutError` where nothing comes
    for `patience_s`.
    """
    try:
        # Not `wait_for`: Python 3.11's forgets a cancellation that comes just as the message does (bpo-37658).
        async with asyncio.timeout(patience_s):
            line = await reader.readuntil(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ProtocolError(f"{type(message).__name__} where a message was expected")
        length = message.pop("bytes", 0)
        if not isinstance(length, int) or not 0 <= length <= LONGEST_BLOB:
            raise ProtocolError(f"a message with {shown(length)} bytes")
        blob = bytearray()
        while len(blob) < length:
            async with asyncio.timeout(patience_s):
                blob += await reader.readexactly(min(_PIECE, length - len(blob)))
        return message, bytes(blob), len(line) + length
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the other side closed the connection") from error
    except asyncio.LimitOverrunError as error:
        raise ProtocolError("a line that is too long") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error!s:.200}") from error


def _worth_logging(record: logging.LogRecord) -> bool:
    """All but that a connection is written to whose other side has left: that is told otherwise, and by it, at will."""
    return record.getMessage() not in ("socket.send() raised exception.", "SSL connection is closed")


class Channel:
    """One side of the channel. `send` at any time; `carry` for each connection in turn."""

    def __init__(
        self, deliver: Deliver, *, pace: Pacing = _at_any_pace, unread: Callable[[], None] = lambda: None
    ) -> None:
        """`pace` is awaited before each message is read; `unread` is called once, when `MOST_UNREAD` is reached."""
        self.received = 0
        """Number of the last message that came."""
        self.taking = 0
        """Bytes of the message that is being delivered."""
        self.full = False
        """Whether the other side reads nothing any more: nothing is kept for it then."""
        logging.getLogger("asyncio").addFilter(_worth_logging)
        self._deliver, self._pace, self._unread = deliver, pace, unread
        self._sent = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._unsaid = 0
        self._writer: asyncio.StreamWriter | None = None

    def send(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        """Send now, or over the next connection; nothing to a side that does not read."""
        if self.full:
            return
        self._sent += 1
        packed = encode({**message, "n": self._sent}, blob)
        self._kept.append((self._sent, packed))
        self._kept_bytes += len(packed)
        if self._writer is not None:
            self._writer.write(packed)
        # What it says to have, and has not read, is in the transport.
        waiting = 0 if self._writer is None else self._writer.transport.get_write_buffer_size()
        if max(self._kept_bytes, waiting) > MOST_UNREAD:
            self._give_up()

    def _give_up(self) -> None:
        self.full = True
        self._kept.clear()
        if self._writer is not None:
            self._writer.transport.abort()
        self._unread()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, they_have: int) -> None:
        """Use this connection until it ends, which raises `ConnectionError`, `OSError` or `TimeoutError`.

        `they_have`: the last of our messages that the other side says to have received.
        """
        if self.full or not self._sent - len(self._kept) <= they_have <= self._sent:
            raise ProtocolError(f"the other side has {shown(they_have)} of our {self._sent} messages")
        self._acknowledged(they_have)
        for _, packed in self._kept:
            writer.write(packed)
        self._writer = writer
        beating = asyncio.create_task(self._beat(writer))
        try:
            while True:
                await self._pace()
                message, blob, size = await read_sized(reader)
                self.taking = size
                self._take(message, blob)
                self._unsaid += size
                if self._unsaid > _ACKNOWLEDGE_EVERY:
                    self._acknowledge(writer)
        finally:
            self._writer = None
            beating.cancel()

    def _take(self, message: Message, blob: bytes) -> None:
        """Raises `ProtocolError` for what is none of our messages; of those that count, the next is then expected."""
        try:
            if "ack" in message:
                self._acknowledged(message["ack"])
            number = message.pop("n", None)
            if number is None or number <= self.received:
                return
            if number != self.received + 1:
                raise ProtocolError(f"message {shown(number)} came after {self.received}")
            self.received = number
            self._deliver(message, blob)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"a message that is not to be understood: {error!r:.200}") from error

    def _acknowledged(self, number: int) -> None:
        if type(number) is not int or number > self._sent:
            raise ProtocolError(f"message {shown(number)} acknowledged, of {self._sent} sent")
        while self._kept and self._kept[0][0] <= number:
            self._kept_bytes -= len(self._kept.popleft()[1])

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        """Say what has come, again and again: an acknowledgement and a sign of life in one."""
        while True:
            self._acknowledge(writer)
            await asyncio.sleep(HEARTBEAT_S)

    def _acknowledge(self, writer: asyncio.StreamWriter) -> None:
        self._unsaid = 0
        writer.write(encode({"ack": self.received}))
