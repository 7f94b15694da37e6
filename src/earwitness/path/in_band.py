"""Probes inside a path over streams: extra frames in one of its streams, from forwarder to forwarder.

Such a path carries only datagrams, and drops those that its streams do not accept. To measure throughput, frames are
therefore sent as fast as the stream's back-pressure allows; round trips are measured through the same stream. A probe's
frame has port 0 for both ports in the flow `other`, which no datagram has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from earwitness.path.framed_stream import StreamLink
from earwitness.path.probe import ANSWER_TIMEOUT_S, INTERVAL_S, LIMIT_BYTES, LIMIT_S, PIECE_BYTES, TransferArrivals

NO_PORTS = bytes(4)
_PING, _PONG, _PIECE, _END = b"\1", b"\2", b"\3", b"\4"
_PING_FILLER = bytes(51)


class InBand:
    """One forwarder's side of the probes.

    `link`: the stream to use, or None while there is none. `emit(event, **values)` reports to the parent: `pinged`
    (`sent`, `times_ms`) at the probing end, `carried` (`bytes`, `seconds`) at the receiving end.
    """

    def __init__(self, link: Callable[[], StreamLink | None], emit: Callable[..., None]) -> None:
        self._link = link
        self._emit = emit
        self._sent_ns: dict[bytes, int] = {}
        self._times_ms: list[float] = []
        self._probes = 0
        self._all_back = asyncio.Event()
        self._arrivals: TransferArrivals | None = None
        self._limit: asyncio.TimerHandle | None = None

    def take(self, frame: bytes) -> None:
        """Handle a probe's frame, given without its ports."""
        now, kind = time.monotonic_ns(), frame[:1]
        if kind == _PING:
            self._send(_PONG + frame[1:])
        elif kind == _PONG:
            sent_ns = self._sent_ns.pop(frame[1:5], None)
            if sent_ns is not None:
                self._times_ms.append((now - sent_ns) / 1e6)
                if len(self._times_ms) == self._probes:
                    self._all_back.set()
        elif kind == _PIECE:
            if self._arrivals is None:
                self._arrivals = TransferArrivals()
                self._limit = asyncio.get_running_loop().call_later(LIMIT_S, self._report)
            self._arrivals.add(len(frame), now)
        elif kind == _END:
            self._report()
            self._arrivals = None

    async def ping(self, count: int) -> None:
        """Send `count` probes and report the round trips."""
        loop = asyncio.get_running_loop()
        self._times_ms, self._sent_ns = [], {}
        self._probes = count
        self._all_back.clear()
        begun = loop.time()
        for number in range(count):
            await asyncio.sleep(begun + number * INTERVAL_S - loop.time())
            key = number.to_bytes(4, "big")
            self._sent_ns[key] = time.monotonic_ns()
            self._send(_PING + key + _PING_FILLER)
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._all_back.wait()
        self._emit("pinged", sent=count, times_ms=self._times_ms)

    async def fill(self) -> None:
        """Send as much as the stream accepts, within the limits; the other end reports what arrived."""
        deadline = time.monotonic() + LIMIT_S
        piece = NO_PORTS + _PIECE + bytes(PIECE_BYTES - 1)
        for _ in range(-(-LIMIT_BYTES // PIECE_BYTES)):
            link = self._link()
            if link is None or time.monotonic() > deadline:
                break
            link.send(piece)
            await link.drained()
        self._send(_END)

    def _send(self, frame: bytes) -> None:
        link = self._link()
        if link is not None:
            link.send(NO_PORTS + frame)

    def _report(self) -> None:
        """Report what arrived, once per transfer; later pieces are discarded."""
        if self._limit is not None and self._arrivals is not None:
            self._limit.cancel()
            self._limit = None
            result: dict[str, Any] = {"bytes": self._arrivals.bytes, "seconds": self._arrivals.result().seconds}
            self._emit("carried", **result)
