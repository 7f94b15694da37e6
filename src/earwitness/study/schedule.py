"""Which call a pair of ends places next: blocks stay together, what is to be tried again comes when it is due."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable

from earwitness.study.design import PlannedCall


class Schedule:
    """The calls still to be placed. Times are of the caller's clock, in seconds."""

    def __init__(self, calls: Iterable[PlannedCall]) -> None:
        """`calls` in planned order; those of one block follow each other."""
        blocks = itertools.groupby(calls, key=lambda call: call.block)
        self._blocks = deque(deque(block) for _, block in blocks)
        self._under_way: dict[str, deque[PlannedCall]] = {}
        self._waiting: list[tuple[float, int, PlannedCall]] = []

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + sum(map(len, self._under_way.values())) + len(self._waiting)

    def take(self, post: str, now_s: float) -> PlannedCall | None:
        """The next call for a pair of ends: of its block, else one that is due again, else of a new block."""
        if block := self._under_way.get(post):
            return block.popleft()
        if self._waiting and self._waiting[0][0] <= now_s:
            return heapq.heappop(self._waiting)[2]
        if not self._blocks:
            return None
        block = self._under_way[post] = self._blocks.popleft()
        return block.popleft()

    def again(self, call: PlannedCall, due_s: float) -> None:
        """Place this call once more, not before then."""
        heapq.heappush(self._waiting, (due_s, call.position, call))

    def due_in_s(self, now_s: float) -> float | None:
        """How long until there is something to take; None where nothing waits."""
        return max(0.0, self._waiting[0][0] - now_s) if self._waiting else None

    def finish_block(self) -> None:
        """Begin no new block."""
        self._blocks.clear()
