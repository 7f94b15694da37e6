"""Chooses the next call for each slot: blocks stay together, and retries run when they are due."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable

from earwitness.geography import place
from earwitness.study.design import PlannedCall

Occupied = Callable[[PlannedCall], frozenset[str]]
"""The shared resources that a call occupies."""


def nothing_shared(_call: PlannedCall) -> frozenset[str]:
    """No shared resources: every slot has its own ends, as in the lab."""
    return frozenset()


def its_places(call: PlannedCall) -> frozenset[str]:
    """One end at each place, whatever name the place is given, shared by all slots."""
    return frozenset(str(place(name)) for name in (call.plan.from_place, call.plan.to_place))


class Schedule:
    """The calls still to be placed. Times are in seconds, by the caller's clock."""

    def __init__(self, calls: Iterable[PlannedCall], occupied: Occupied = nothing_shared) -> None:
        """`calls` in planned order, with those of a block together. While a slot has a block or a call, other slots
        get nothing that occupies the same resources.
        """
        blocks = itertools.groupby(calls, key=lambda call: call.block)
        self._blocks = deque(deque(block) for _, block in blocks)
        self._under_way: dict[str, deque[PlannedCall]] = {}
        self._waiting: list[tuple[float, int, PlannedCall]] = []
        """When the retry is due, and the call's position, which is unique."""
        self._occupied = occupied
        self._held: dict[str, frozenset[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + sum(map(len, self._under_way.values())) + len(self._waiting)

    def take(self, slot: str, now_s: float) -> PlannedCall | None:
        """The slot's next call: from its block, else a retry that is due, else from a new block."""
        if block := self._under_way.get(slot):
            return block.popleft()
        self._held.pop(slot, None)
        for entry in sorted(entry for entry in self._waiting if entry[0] <= now_s):
            if self._hold(slot, [entry[2]]):
                self._waiting.remove(entry)
                return entry[2]
        for index, block in enumerate(self._blocks):
            if self._hold(slot, block):
                del self._blocks[index]
                self._under_way[slot] = block
                return block.popleft()
        return None

    def _hold(self, slot: str, calls: Iterable[PlannedCall]) -> bool:
        """Reserve for a slot what these calls occupy, if no other slot holds it."""
        wanted = frozenset().union(*map(self._occupied, calls))
        if any(wanted & held for held in self._held.values()):
            return False
        self._held[slot] = wanted
        return True

    def off_air(self, slot: str) -> None:
        """The slot's call is over: release what it occupied, unless its block continues."""
        if not self._under_way.get(slot):
            self._held.pop(slot, None)

    def give_back(self, slot: str) -> None:
        """Suspend the slot: the rest of its block goes to the next slot."""
        if block := self._under_way.pop(slot, None):
            self._blocks.appendleft(block)
        self._held.pop(slot, None)

    def again(self, call: PlannedCall, due_s: float) -> None:
        """Retry this call, not before the given time."""
        self._waiting.append((due_s, call.position, call))

    def due_in_s(self, now_s: float) -> float | None:
        """Time until the next retry is due; None if there is none.

        A retry that is already due waits for occupied resources, not for a time.
        """
        return min((due_s - now_s for due_s, _, _ in self._waiting if due_s > now_s), default=None)
