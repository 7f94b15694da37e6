"""A message channel over connections that may break: numbered, acknowledged, resent over the next connection.

On the wire a message is one line of JSON, followed by as many raw bytes as its `bytes` field says (used for files).
`n` numbers messages from 1 in each direction; `ack` is the last number received. Messages that were not acknowledged
when a connection broke are resent over the next, in order, so both sides see one continuous channel.
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
"""A connection without traffic for this long, not even a heartbeat, is considered dead."""
LONGEST_LINE = 4 * 1024 * 1024
"""Longest line from the answering side: a phone's report. (A line of brackets takes 25 times its size once parsed.)"""
LONGEST_REQUEST = 64 * 1024
"""Longest line from the calling side."""
LONGEST_BLOB = 8 * 1024 * 1024
MOST_UNREAD = 32 * 1024 * 1024
"""Bytes sent but not acknowledged, or waiting to be sent: beyond this the peer is considered not to read."""
_ACKNOWLEDGE_EVERY = 1 << 20
"""Bytes received between acknowledgements; each heartbeat acknowledges too."""
_PIECE = 32 * 1024
"""A long message must arrive at this rate or faster: bytes per `DEAD_AFTER_S`."""

Message = dict[str, Any]
MessageCheck = Callable[[Message], Message]
"""Validates an untrusted message: returns its valid content, or raises `ValueError`."""
LaterResult = Callable[[], Awaitable[Any]]
"""Requests the result of a service opened earlier."""
Deliver = Callable[[Message, bytes], None]
Pacing = Callable[[], Awaitable[None]]


def unchecked(message: Message) -> Message:
    """Pass a message on that its receiver validates."""
    return message


async def _at_any_pace() -> None:
    """Impose no rate limit."""


class ProtocolError(ConnectionError):
    """The other side violated the protocol; the connection can no longer be used."""


def encode(message: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """Encode a message for the wire."""
    values = {**message, "bytes": len(blob)} if blob else message
    return json.dumps(values, separators=(",", ":")).encode() + b"\n" + blob


async def read(reader: asyncio.StreamReader, patience_s: float = DEAD_AFTER_S) -> tuple[Message, bytes]:
    """Read the next message and its raw bytes; raises as `read_sized`."""
    message, blob, _ = await read_sized(reader, patience_s)
    return message, blob


async def read_sized(reader: asyncio.StreamReader, patience_s: float = DEAD_AFTER_S) -> tuple[Message, bytes, int]:
    """Read the next message; return it, its raw bytes, and its size on the wire in bytes.

    Raises `ConnectionError` at the end of the stream and for malformed data, `TimeoutError` if nothing arrives for
    `patience_s`.
    """
    try:
        # Not `wait_for`: in Python 3.11 it loses a cancellation that coincides with the message (bpo-37658).
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
        raise ProtocolError("a line is too long") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error!s:.200}") from error


def _worth_logging(record: logging.LogRecord) -> bool:
    """Drop asyncio's warnings about writes to a closed connection: we report that ourselves, and a peer could flood
    the log with them.
    """
    return record.getMessage() not in ("socket.send() raised exception.", "SSL connection is closed")


class Channel:
    """One side of the channel. Call `send` at any time, and `carry` for each connection in turn."""

    def __init__(
        self, deliver: Deliver, *, pace: Pacing = _at_any_pace, unread: Callable[[], None] = lambda: None
    ) -> None:
        """`pace` is awaited before each message is read; `unread` is called once, when `MOST_UNREAD` is exceeded."""
        self.received = 0
        """Number of the last message received."""
        self.taking = 0
        """Size in bytes of the message being delivered."""
        self.full = False
        """Whether the other side has stopped reading; messages to it are then discarded."""
        logging.getLogger("asyncio").addFilter(_worth_logging)
        self._deliver, self._pace, self._unread = deliver, pace, unread
        self._sent = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._unsaid = 0
        self._writer: asyncio.StreamWriter | None = None

    def send(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        """Send now, or over the next connection; discard if the other side has stopped reading."""
        if self.full:
            return
        self._sent += 1
        packed = encode({**message, "n": self._sent}, blob)
        self._kept.append((self._sent, packed))
        self._kept_bytes += len(packed)
        if self._writer is not None:
            self._writer.write(packed)
        # A peer that acknowledges without reading leaves its data in the transport's buffer.
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
        """Use this connection until it ends; the end raises `ConnectionError`, `OSError` or `TimeoutError`.

        `they_have`: number of our last message that the other side reports as received.
        """
        if self.full or not self._sent - len(self._kept) <= they_have <= self._sent:
            raise ProtocolError(f"the other side claims {shown(they_have)} of our {self._sent} messages")
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
        """Process a message in sequence. Raises `ProtocolError` if it is malformed or out of sequence."""
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
            raise ProtocolError(f"a message cannot be understood: {error!r:.200}") from error

    def _acknowledged(self, number: int) -> None:
        if type(number) is not int or number > self._sent:
            raise ProtocolError(f"message {shown(number)} acknowledged, of {self._sent} sent")
        while self._kept and self._kept[0][0] <= number:
            self._kept_bytes -= len(self._kept.popleft()[1])

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        """Send heartbeats, each of which acknowledges what has arrived."""
        while True:
            self._acknowledge(writer)
            await asyncio.sleep(HEARTBEAT_S)

    def _acknowledge(self, writer: asyncio.StreamWriter) -> None:
        self._unsaid = 0
        writer.write(encode({"ack": self.received}))
