"""A process on the other machine, behind the same interface as one on this."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from earwitness.netns.child import ChildGone
from earwitness.remote.channel import Channel, MessageCheck, unchecked
from earwitness.untrusted import LONGEST_TEXT, UntrustedValue, fit, plain

MOST_WAITING = 8 << 20
"""Bytes of what it says that wait for somebody to listen."""
_AN_EVENT = 200
"""Bytes that the shortest takes here."""
_ON_THE_WAY_S = 1.5


class RemoteChannel(Protocol):
    """The other machine, as far as a process there needs it."""

    channel: Channel

    @property
    def connected(self) -> bool:
        """Whether there is a connection just now."""
        ...


class RemoteChild:
    """A process on the other machine; an `earwitness.netns.child.Child`."""

    pid = 0

    def __init__(self, remote: RemoteChannel, number: int, name: str, believed: MessageCheck = unchecked) -> None:
        """`believed` reads each event, and raises `ValueError` for one that is none of such a process's."""
        self.number, self.name = number, name
        self.gone: str | None = None
        self._remote, self._believed = remote, believed
        self._events: asyncio.Queue[tuple[dict[str, Any], int] | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._over = asyncio.Event()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one command. Raises ChildGone when the process or the other machine is gone."""
        if self.gone is not None:
            raise self._child_gone(self.gone)
        self._remote.channel.send({"child": self.number, "line": message})

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next event. Raises ChildGone at the end of its output or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                event = await self._events.get()
        except TimeoutError as error:
            raise self._child_gone(f"it said nothing for {timeout_s:g} s") from error
        if event is None:
            self._events.put_nowait(None)  # so it is for whoever asks next
            raise self._child_gone(self.gone or "it ended")
        self._waiting_bytes -= event[1]
        return event[0]

    def close_stdin(self) -> None:
        """Ask the process to finish."""
        if self.gone is None:
            self._remote.channel.send({"child": self.number, "close": True})

    async def close(self, grace_s: float = 5.0) -> None:
        """Have it end. Where the other machine cannot be reached now, it gets the request when it can."""
        if self.gone is None:
            self._remote.channel.send({"child": self.number, "end": grace_s})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s + _ON_THE_WAY_S if self._remote.connected else 0.0):
                    await self._over.wait()

    def hear(self, event: object) -> None:
        """Take an event of it. What is no event cannot be understood: the process then counts as gone."""
        if self.gone is not None:
            return
        size = self._remote.channel.taking + _AN_EVENT
        if self._waiting_bytes + size > MOST_WAITING:
            self.end("it said more at once than is listened to")
            return
        try:
            if not isinstance(event, dict) or not isinstance(event.get("event"), str):
                raise UntrustedValue(f"it said {plain(event)!r:.80} where an event was expected")
            believed = self._believed(event)
        except ValueError as error:
            self.end(fit(str(error), LONGEST_TEXT))
            return
        self._waiting_bytes += size
        self._events.put_nowait((believed, size))

    def end(self, happened: str) -> None:
        """It is gone."""
        if self.gone is None:
            self.gone = happened
            self._over.set()
            self._events.put_nowait(None)

    def _child_gone(self, happened: str) -> ChildGone:
        return ChildGone("talking to the", self.name, happened, "see `earwitness answer` on the other machine")
