"""A rate limit on log lines that unauthenticated peers cause: we cannot bound the peers, but we can bound the log."""

from __future__ import annotations

import asyncio

from earwitness.events import Listener, Notice, WarningGiven

SAID_AT_ONCE = 5
"""Default number of lines per period; further ones are only counted."""
PERIOD_S = 60.0


class RateLimited:
    """Passes on a few lines per period, then the count of the rest."""

    def __init__(
        self,
        on_event: Listener,
        kind: type[Notice] | type[WarningGiven],
        what: str,
        period_s: float = PERIOD_S,
        most: int = SAID_AT_ONCE,
    ) -> None:
        """`kind`: type of event for each line. `what` names what is counted, such as "connections were refused"."""
        self._on_event, self._kind = on_event, kind
        self._what, self._period_s, self._most = what, period_s, most
        self._said = 0
        self._timer: asyncio.TimerHandle | None = None

    def report(self, line: str) -> None:
        """Emit the line, or count it."""
        self._said += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period_s, self.sum_up)
        if self._said <= self._most:
            self._on_event(self._kind(line))

    def sum_up(self) -> None:
        """Emit the count of suppressed lines and start a new period."""
        more, self._said = self._said - self._most, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if more > 0:
            self._on_event(self._kind(f"{more} more {self._what} in the last {self._period_s:g} s"))
