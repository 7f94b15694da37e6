"""Tracks packet delays in a decaying histogram and derives the best playout delay from it."""

from __future__ import annotations

import math
from array import array

import numpy as np

_BIN_NS = 5_000_000
_BINS = 600
_FIRST_BIN = 100
"""3 s of delay in steps of 5 ms, starting half a second below the first packet's."""
_LOWEST_EDGE_NS = (1 - _FIRST_BIN) * _BIN_NS
_EVERY = 10
"""The target is recomputed after this many packets; at the start, after each one."""
_FEW = 3
"""Packets needed before their spread is meaningful."""
_SPREADS = 3
"""The initial delay is this multiple of the spread of the first packets."""
_EXPERIENCE = 100
"""Packets after which the initial assumption no longer matters."""


class Delays:
    """The delays of a stream's packets relative to their timestamps, and the target playout delay. Mutable.

    The target is the delay T that minimises T + worth_ms * (percent of packets with a delay over T), but at least
    `least_ms` above the fastest packet. At the start, with few observations, it is `first_ms` above the fastest packet,
    or less if the first packets arrive evenly.
    """

    def __init__(self, worth_ms: float, first_ms: float, least_ms: float, memory_s: float, packet_ns: int) -> None:
        self._worth_ns = worth_ms * 100.0 * 1e6
        self._first_ns = round(first_ms * 1e6)
        self._floor_ns = min(round(least_ms * 1e6), self._first_ns)
        self._growth = math.exp(packet_ns / (memory_s * 1e9))
        self._edges = (np.arange(_BINS) + 1 - _FIRST_BIN) * float(_BIN_NS)
        self._histogram = array("d", bytes(8 * _BINS))
        self._bins = np.frombuffer(self._histogram)  # same memory: the array is fast to update, the view fast to sum
        self._lowest, self._highest = _BINS, -1
        self._weight = 1.0
        self._count = 0
        self._waiting: list[int] = []
        self._wanted = 1
        self._origin_ns = self._least_ns = self._most_ns = 0
        self.target_ns = 0
        """A frame plays at its timestamp's time plus this, ns."""

    def restart(self) -> None:
        """Reset after the timestamps restarted: the observations refer to another origin."""
        self._bins.fill(0.0)
        self._lowest, self._highest = _BINS, -1
        self._weight, self._count, self._wanted = 1.0, 0, 1
        self._waiting.clear()

    def add(self, delay_ns: int) -> None:
        """Record a packet that arrived `delay_ns` after its timestamp's time (both relative to any origin)."""
        self._waiting.append(delay_ns)
        # The target does not change from one recomputation to the next, so the packets between can wait for it.
        if len(self._waiting) == self._wanted:
            self._learn()

    def _learn(self) -> None:
        """Take the packets that wait into the histogram, and aim anew."""
        if not self._count:
            first = self._waiting[0]
            self._origin_ns = self._least_ns = self._most_ns = first
            self.target_ns = first + self._first_ns
        weight, growth, histogram = self._weight, self._growth, self._histogram
        origin, least, lowest, highest = self._origin_ns, self._least_ns, self._lowest, self._highest
        for count, delay_ns in enumerate(self._waiting, start=self._count + 1):
            if delay_ns < least:
                least = delay_ns
            elif delay_ns > self._most_ns and count <= _EXPERIENCE:
                self._most_ns = delay_ns
            # Newer packets get more weight, which is equivalent to older ones losing weight.
            weight *= growth
            place = (delay_ns - origin) // _BIN_NS + _FIRST_BIN
            if not lowest <= place <= highest:
                place = min(max(place, 0), _BINS - 1)
                lowest, highest = min(place, lowest), max(place, highest)
            histogram[place] += weight
        self._weight, self._least_ns, self._lowest, self._highest = weight, least, lowest, highest
        count = self._count = self._count + len(self._waiting)
        self._waiting.clear()
        self._wanted = _EVERY if count >= _EVERY else max(1, _FEW - count)
        if count >= _FEW:
            self._aim()

    def _aim(self) -> None:
        low, end = self._lowest, self._highest + 1
        # The delay, less what the packets on time are worth, but for a term that is the same for all: worth_ns * 1.0.
        cost = self._bins[low:end].cumsum()
        cost *= -self._worth_ns / cost.item(-1)
        cost += self._edges[low:end]
        best = int(cost.argmin())
        # If it is best to wait for no packet, the smallest available delay serves as well as any below the first
        # packet.
        wanted = self._edge_ns(0 if cost.item(best) >= _LOWEST_EDGE_NS else low + best)
        spread = min(_SPREADS * (self._most_ns - self._least_ns), self._first_ns)
        assumed = max(min(1.0, _EXPERIENCE / self._count) * spread, self._floor_ns)
        self.target_ns = max(self._origin_ns + wanted, self._least_ns + round(assumed))
        if self._weight > 1e100:
            self._bins /= self._weight
            self._weight = 1.0

    @staticmethod
    def _edge_ns(place: int) -> int:
        """The upper edge of a bin, relative to the first packet's delay."""
        return (place + 1 - _FIRST_BIN) * _BIN_NS
