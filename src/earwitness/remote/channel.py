"""Messages over a control connection that may break: numbered, acknowledged, sent again over the next connection.

On the wire a message is one line of JSON, followed by as many raw bytes as its `bytes` says (files travel so).
`n` numbers messages from 1 in each direction; `ack` is the last number received. What was not acknowledged when a
connection broke is sent again over the next, in order, so that to both sides the channel is one.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

HEARTBEAT_S = 1.0
DEAD_AFTER_S = 6.0
"""A connection over which nothing came for so long, not even a heartbeat, is taken to be cut."""
LONGEST_LINE = 32 * 1024 * 1024
"""A phone's report of an hour's call is the longest line there is."""
LONGEST_BLOB = 8 * 1024 * 1024
_PIECE = 32 * 1024
"""Of a long message at least so much must come in each `DEAD_AFTER_S`."""

Message = dict[str, Any]
Deliver = Callable[[Message, bytes], None]


class ProtocolError(ConnectionError):
    """The other side does not keep to the protocol; the connection is of no use any more."""


def encode(message: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """A message as it goes over the wire."""
    values = {**message, "bytes": len(blob)} if blob else message
    return json.dumps(values, separators=(",", ":")).encode() + b"\n" + blob


async def read(reader: asyncio.StreamReader, patience_s: float = DEAD_AFTER_S) -> tuple[Message, bytes]:
    """The next message and its raw bytes.

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
            raise ProtocolError(f"a message with {length!r} bytes")
        blob = bytearray()
        while len(blob) < length:
            async with asyncio.timeout(patience_s):
                blob += await reader.readexactly(min(_PIECE, length - len(blob)))
        return message, bytes(blob)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the other side closed the connection") from error
    except asyncio.LimitOverrunError as error:
        raise ProtocolError(f"a line longer than {LONGEST_LINE} bytes") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from error


class Channel:
    """One side of the channel. `send` at any time; `carry` for each connection in turn."""

    def __init__(self, deliver: Deliver) -> None:
        self.received = 0
        """Number of the last message that came."""
        self._deliver = deliver
        self._sent = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._writer: asyncio.StreamWriter | None = None

    @property
    def unacknowledged(self) -> int:
        """Messages that the other side has not said to have."""
        return len(self._kept)

    def send(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        """Send now, or over the next connection."""
        self._sent += 1
        packed = encode({**message, "n": self._sent}, blob)
        self._kept.append((self._sent, packed))
        if self._writer is not None:
            self._writer.write(packed)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, they_have: int) -> None:
        """Use this connection until it ends, which raises `ConnectionError`, `OSError` or `TimeoutError`.

        `they_have`: the last of our messages that the other side says to have received.
        """
        if not self._sent - len(self._kept) <= they_have <= self._sent:
            raise ProtocolError(f"the other side has {they_have} of our {self._sent} messages")
        self._acknowledged(they_have)
        for _, packed in self._kept:
            writer.write(packed)
        self._writer = writer
        beating = asyncio.create_task(self._beat(writer))
        try:
            while True:
                self._take(*await read(reader))
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
                raise ProtocolError(f"message {number} came after {self.received}")
            self.received = number
            self._deliver(message, blob)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"a message that is not to be understood: {error!r}") from error

    def _acknowledged(self, number: int) -> None:
        if number > self._sent:
            raise ProtocolError(f"message {number} acknowledged, of {self._sent} sent")
        while self._kept and self._kept[0][0] <= number:
            self._kept.popleft()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        """Say what has come, again and again: an acknowledgement and a sign of life in one."""
        while True:
            writer.write(encode({"ack": self.received}))
            await asyncio.sleep(HEARTBEAT_S)
