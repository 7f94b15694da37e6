"""A process on the remote machine, with the interface of a local one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from earwitness.netns.child import ChildGone
from earwitness.remote.channel import Channel, MessageCheck, unchecked
from earwitness.untrusted import LONGEST_TEXT, UntrustedValue, fit, plain

MOST_WAITING = 8 << 20
"""Bytes of unread events kept per process."""
_AN_EVENT = 200
"""Least memory of a queued event, bytes."""
_ON_THE_WAY_S = 1.5


class RemoteChannel(Protocol):
    """What a remote process needs of the connection to its machine."""

    channel: Channel

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        ...


class RemoteChild:
    """A process on the remote machine; an `earwitness.netns.child.Child`."""

    pid = 0

    def __init__(self, remote: RemoteChannel, number: int, name: str, believed: MessageCheck = unchecked) -> None:
        """`believed` validates each event, and raises `ValueError` for one that such a process does not send."""
        self.number, self.name = number, name
        self.gone: str | None = None
        self._killer = ""
        self._remote, self._believed = remote, believed
        self._events: asyncio.Queue[tuple[dict[str, Any], int] | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._over = asyncio.Event()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one command. Raises ChildGone if the process or the remote machine is gone."""
        if self.gone is not None:
            raise self._child_gone(self.gone)
        self._remote.channel.send({"child": self.number, "line": message})

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the next event. Raises ChildGone at the end of its output or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                event = await self._events.get()
        except TimeoutError as error:
            raise self._child_gone(f"it said nothing for {timeout_s:g} s") from error
        if event is None:
            self._events.put_nowait(None)  # the next reader must see the end too
            raise self._child_gone(self.gone or "it ended")
        self._waiting_bytes -= event[1]
        return event[0]

    def close_stdin(self) -> None:
        """Ask the process to finish."""
        if self.gone is None:
            self._remote.channel.send({"child": self.number, "close": True})

    async def close(self, grace_s: float = 5.0) -> None:
        """End it. If the remote machine cannot be reached now, the request is delivered once it can."""
        if self.gone is None:
            self._remote.channel.send({"child": self.number, "end": grace_s})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s + _ON_THE_WAY_S if self._remote.connected else 0.0):
                    await self._over.wait()

    def hear(self, event: object) -> None:
        """Take an event from the process. After a malformed event the process counts as gone."""
        if self.gone is not None:
            return
        size = self._remote.channel.taking + _AN_EVENT
        if self._waiting_bytes + size > MOST_WAITING:
            self.end("its events arrived faster than they were read")
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

    def end(self, happened: str, killer: str = "") -> None:
        """Mark the process as gone; `killer` names the signal that killed it."""
        if self.gone is None:
            self.gone, self._killer = happened, killer
            self._over.set()
            self._events.put_nowait(None)

    def _child_gone(self, happened: str) -> ChildGone:
        remedy = "see `earwitness answer` on the other machine"
        return ChildGone("talking to the", self.name, happened, remedy, killed_by=self._killer)
