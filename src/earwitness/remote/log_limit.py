"""What strangers cause to be said, said sparingly: their number is not in our hands, the length of the log is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SAID_AT_ONCE = 5
"""MessageCheck in a period, unless told otherwise; further ones are counted."""
PERIOD_S = 60.0


LogListener = Callable[[str], None]
"""Takes a line of the log."""


class Sparingly:
    """Passes on a few lines a minute, and how many more there were."""

    def __init__(self, told: LogListener, what: str, period_s: float = PERIOD_S, most: int = SAID_AT_ONCE) -> None:
        """`what` is counted: "connections were refused"."""
        self._told, self._what, self._period_s, self._most = told, what, period_s, most
        self._said = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, line: str) -> None:
        """Say it, or count it."""
        self._said += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period_s, self.sum_up)
        if self._said <= self._most:
            self._told(line)

    def sum_up(self) -> None:
        """Say what was only counted, and begin anew."""
        more, self._said = self._said - self._most, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if more > 0:
            self._told(f"{more} more {self._what} in the last {self._period_s:g} s")
