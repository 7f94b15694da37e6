"""How many calls may run at the same time without harming the machine's own timing, and how much load at all."""

from __future__ import annotations

from collections import deque

from earwitness.study.model import Budget

_CALM = 0.5
"""Share of what the instrument check permits below which there is room for one call more."""
_HOUR_S = 3600.0
_MIB = 2**20


class ConcurrencyLimit:
    """One call less at once when the instrument was not good enough, one more after a calm while.

    Additive in both directions: the difference of one call is what the machine can be asked about, and a study is long.
    """

    def __init__(self, most: int, *, adapt: bool = True) -> None:
        self.most = most
        self.limit = most
        self._adapt = adapt
        self._calm = 0

    def note(self, good: bool | None, strain: float) -> None:
        """Take in one call: whether its instrument was good enough, and the worst error as a share of the permitted."""
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
    """What has been put on the network, against the budget. Times are of the caller's clock, in seconds."""

    def __init__(self, budget: Budget, spent_bytes: float = 0.0) -> None:
        self._budget = budget
        self.spent_bytes = spent_bytes
        self._hour: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, tor_bytes: float) -> None:
        """Count a call that begins now."""
        self.spent_bytes += tor_bytes
        self._hour.append((now_s, tor_bytes))

    def used_up(self, tor_bytes: float) -> bool:
        """Whether a call of so many bytes would exceed what may be put on the network in all."""
        most = self._budget.tor_mib
        return most is not None and tor_bytes > 0 and self.spent_bytes + tor_bytes > most * _MIB

    def wait_s(self, now_s: float, tor_bytes: float) -> float:
        """How long a call of so many bytes must wait for the budget of an hour; 0 where it need not."""
        while self._hour and self._hour[0][0] <= now_s - _HOUR_S:
            self._hour.popleft()
        calls, mib = self._budget.calls_per_hour, self._budget.tor_mib_per_hour
        wait = 0.0
        if calls is not None and len(self._hour) >= max(1.0, calls):
            wait = self._hour[len(self._hour) - max(1, int(calls))][0] + _HOUR_S - now_s
        if mib is not None and tor_bytes > 0:
            # A single call may exceed it, or it would never be placed.
            excess = sum(size for _, size in self._hour) + tor_bytes - max(mib * _MIB, tor_bytes)
            for begun, size in self._hour:
                if excess <= 0:
                    break
                excess -= size
                wait = max(wait, begun + _HOUR_S - now_s)
        return max(0.0, wait)
