"""How many calls may run at once without degrading this machine's timing, and how much traffic a study may cause."""

from __future__ import annotations

from collections import deque

from earwitness.study.model import Budget

_CALM = 0.5
"""Fraction of the timing error that the instrument check permits; below it there is room for another call."""
_HOUR_S = 3600.0
_MIB = 2**20


class ConcurrencyLimit:
    """Allow one call fewer whenever the instrument check fails, and one more after a calm period.

    Steps are additive both ways: one call is the smallest step whose effect can be measured, and a study is long.
    """

    def __init__(self, most: int, *, adapt: bool = True) -> None:
        self.most = most
        self.limit = most
        self._adapt = adapt
        self._calm = 0

    def note(self, good: bool | None, strain: float) -> None:
        """Record one call: whether its instrument check passed, and its worst error as a fraction of the limit."""
        if not self._adapt or good is None:
            return
        if not good:
            self.limit, self._calm = max(1, self.limit - 1), 0
        elif strain < _CALM:
            self._calm += 1
            if self._calm >= 3 * self.limit and self.limit < self.most:
                self.limit, self._calm = self.limit + 1, 0
        else:
            self._calm = 0


class Load:
    """Bytes put on the network, against the budget. Times are in seconds, by the caller's clock."""

    def __init__(self, budget: Budget, spent_bytes: float = 0.0) -> None:
        self._budget = budget
        self.spent_bytes = spent_bytes
        self._hour: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, tor_bytes: float) -> None:
        """Count a call that starts now."""
        self.spent_bytes += tor_bytes
        self._hour.append((now_s, tor_bytes))

    def used_up(self, tor_bytes: float) -> bool:
        """Whether a call of that many bytes would exceed the total budget."""
        most = self._budget.tor_mib
        return most is not None and tor_bytes > 0 and self.spent_bytes + tor_bytes > most * _MIB

    def wait_s(self, now_s: float, tor_bytes: float) -> float:
        """How long a call of that many bytes must wait for the hourly budget; 0 if it can start now."""
        while self._hour and self._hour[0][0] <= now_s - _HOUR_S:
            self._hour.popleft()
        calls, mib = self._budget.calls_per_hour, self._budget.tor_mib_per_hour
        wait = 0.0
        if calls is not None and len(self._hour) >= max(1.0, calls):
            wait = self._hour[len(self._hour) - max(1, int(calls))][0] + _HOUR_S - now_s
        if mib is not None and tor_bytes > 0:
            # A single call may exceed the budget; otherwise it would never be placed.
            excess = sum(size for _, size in self._hour) + tor_bytes - max(mib * _MIB, tor_bytes)
            for begun, size in self._hour:
                if excess <= 0:
                    break
                excess -= size
                wait = max(wait, begun + _HOUR_S - now_s)
        return max(0.0, wait)
