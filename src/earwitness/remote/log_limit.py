"""A limit on log lines that strangers cause: we cannot bound their number, but we can bound the log."""

from __future__ import annotations

import asyncio

from earwitness.events import Listener, Notice, WarningGiven

SAID_AT_ONCE = 5
"""Lines in a period by default; further ones are counted."""
PERIOD_S = 60.0


class RateLimited:
    """Passes on a few lines a minute, and how many more there were."""

    def __init__(
        self,
        on_event: Listener,
        kind: type[Notice] | type[WarningGiven],
        what: str,
        period_s: float = PERIOD_S,
        most: int = SAID_AT_ONCE,
    ) -> None:
        """`kind`: the event that a line becomes. `what` is counted: "connections were refused"."""
        self._on_event, self._kind = on_event, kind
        self._what, self._period_s, self._most = what, period_s, most
        self._said = 0
        self._timer: asyncio.TimerHandle | None = None

    def report(self, line: str) -> None:
        """Say it, or count it."""
        self._said += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period_s, self.sum_up)
        if self._said <= self._most:
            self._on_event(self._kind(line))

    def sum_up(self) -> None:
        """Say what was only counted, and begin anew."""
        more, self._said = self._said - self._most, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if more > 0:
            self._on_event(self._kind(f"{more} more {self._what} in the last {self._period_s:g} s"))
