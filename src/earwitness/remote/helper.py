"""A process of a call at the answering side: its events are sent over the channel and stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from earwitness.errors import EarwitnessError
from earwitness.netns.child import ChildGone, ChildHangs, JsonChild
from earwitness.remote.channel import Channel, MessageCheck, unchecked
from earwitness.untrusted import UntrustedValue

_REPORT_S = 5.0
_LONGEST_COMMAND = 32 * 1024
"""Bytes; commands have a few hundred. A pipe holds 64 KiB: a command that is not read at once must not block us."""
_OWN = -1
"""Number of commands that this side issues itself; the caller's count from 1."""


class Listens(Protocol):
    """Where the events of a process go: the resources of its call."""

    channel: Channel

    def note(self, name: str, event: dict[str, Any]) -> None:
        """Store an event."""
        ...


async def _nothing() -> None:
    """Do nothing at the end: the default."""


class Helper:
    """A process of a call; its events are sent over the channel and stored."""

    def __init__(
        self,
        number: int,
        name: str,
        child: JsonChild,
        listener: Listens,
        *,
        first: MessageCheck = unchecked,
        then: MessageCheck = unchecked,
        said: MessageCheck = unchecked,
        ended: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.number, self.name = number, name
        self.over = asyncio.Event()
        self._reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=4)
        self._child, self._listener = child, listener
        self._first, self._then, self._said, self._ended = first, then, said, ended
        self._told = False
        self._ending: asyncio.Task[None] | None = None
        self._refused: str | None = None
        self._follower = asyncio.create_task(self._follow())

    def tell(self, line: dict[str, Any]) -> None:
        """Write a line to its standard input; the first is validated and completed by this side.

        A line that cannot be passed on ends the process; the caller receives the reason.
        """
        try:
            checked = self._then(line) if self._told else self._first(line)
            self._told = True
            if len(json.dumps(checked)) > _LONGEST_COMMAND:
                raise ValueError("it is too long")
        except (EarwitnessError, AttributeError, KeyError, TypeError, ValueError) as error:
            happened = str(error) if isinstance(error, EarwitnessError | UntrustedValue) else f"{error!r:.200}"
            self._refused = f"a command to it was refused: {happened}"
            self._child.close_stdin()
            return
        self._pass_on(checked)

    def _pass_on(self, line: dict[str, Any]) -> None:
        try:
            self._child.send(line)
        except ChildHangs as hangs:
            if self._ending is None:
                self._refused = hangs.happened
                self._ending = asyncio.create_task(self._child.close(0.0))
        except ChildGone:
            pass  # the follower reports its end

    async def report(self) -> dict[str, Any]:
        """Request a phone's report for this side; empty if the phone does not answer."""
        if self.over.is_set() or not self._told:
            return {}
        while not self._reports.empty():  # late answers to earlier requests
            self._reports.get_nowait()
        self._pass_on({"id": _OWN, "do": "report"})
        try:
            async with asyncio.timeout(_REPORT_S):
                return await self._reports.get()
        except TimeoutError:
            return {}

    def close_stdin(self) -> None:
        """Ask it to finish."""
        self._child.close_stdin()

    async def close(self, grace_s: float) -> None:
        """End it; its last events are passed on before this returns. `grace_s` is finite."""
        self._child.close_stdin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.over.wait()
        await self._child.close(0.5)
        await self._follower

    async def _follow(self) -> None:
        try:
            while True:
                event = self._said(await self._child.receive())
                if event.get("id") == _OWN:
                    with contextlib.suppress(asyncio.QueueFull):
                        self._reports.put_nowait(event.get("value") or {})
                    continue
                self._listener.note(self.name, event)
                self._listener.channel.send({"child": self.number, "event": event})
        except ChildGone as gone:
            killed_by = "" if self._refused else gone.killed_by  # what was refused, this side ends itself
            ending = {"gone": self._refused or gone.happened, "killed_by": killed_by}
            self._listener.channel.send({"child": self.number, **ending})
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # output that no process of ours writes
            self._listener.channel.send(
                {"child": self.number, "gone": f"its output cannot be understood: {error!r:.200}"}
            )
        finally:
            self.over.set()
            await self._ended()
