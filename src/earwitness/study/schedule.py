"""Which call a pair of ends places next: blocks stay together, what is to be tried again comes when it is due."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable

from earwitness.geography import place
from earwitness.study.design import PlannedCall

Occupied = Callable[[PlannedCall], frozenset[str]]
"""What a call has to itself of all that slots share."""


def nothing_shared(_call: PlannedCall) -> frozenset[str]:
    """Every slot has ends of its own, as in the lab."""
    return frozenset()


def its_places(call: PlannedCall) -> frozenset[str]:
    """There is one end at each place, by whatever name of it, which any slot may use."""
    return frozenset(str(place(name)) for name in (call.plan.from_place, call.plan.to_place))


class Schedule:
    """The calls still to be placed. Times are of the caller's clock, in seconds."""

    def __init__(self, calls: Iterable[PlannedCall], occupied: Occupied = nothing_shared) -> None:
        """`calls` in planned order; those of one block follow each other. While a slot has a block or a call, others
        are given nothing that occupies the same.
        """
        blocks = itertools.groupby(calls, key=lambda call: call.block)
        self._blocks = deque(deque(block) for _, block in blocks)
        self._under_way: dict[str, deque[PlannedCall]] = {}
        self._waiting: list[tuple[float, int, PlannedCall]] = []
        """When it is due, and its position, which no other has."""
        self._occupied = occupied
        self._held: dict[str, frozenset[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + sum(map(len, self._under_way.values())) + len(self._waiting)

    def take(self, slot: str, now_s: float) -> PlannedCall | None:
        """The next call for a pair of ends: of its block, else one that is due again, else of a new block."""
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
        """Keep for a slot what these calls occupy, where no other has it."""
        wanted = frozenset().union(*map(self._occupied, calls))
        if any(wanted & held for held in self._held.values()):
            return False
        self._held[slot] = wanted
        return True

    def off_air(self, slot: str) -> None:
        """The slot's call is over: what it occupied is free, unless more of its block is to come."""
        if not self._under_way.get(slot):
            self._held.pop(slot, None)

    def give_back(self, slot: str) -> None:
        """The slot is to rest: what it has not placed of its block is the next for others."""
        if block := self._under_way.pop(slot, None):
            self._blocks.appendleft(block)
        self._held.pop(slot, None)

    def again(self, call: PlannedCall, due_s: float) -> None:
        """Place this call once more, not before then."""
        self._waiting.append((due_s, call.position, call))

    def due_in_s(self, now_s: float) -> float | None:
        """How long until one more call is due; None where none waits.

        What is due by now and was not taken waits for what others occupy, not for a time.
        """
        return min((due_s - now_s for due_s, _, _ in self._waiting if due_s > now_s), default=None)
