"""The instrument's self-check during one call: whether its own timing was good enough to trust the figures.

Four faults of the machine can distort a call's figures: the phone sent off its grid, the emulator forwarded packets
late, a process that carries the call (a relay's tor, a tunnel's end) waited for a processor, or a capture missed
packets. All four are checked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earwitness.archive.facts import SelfCheck

SEND_DEVIATION_LIMIT_MS = 5.0
EMULATOR_LATE_LIMIT_MS = 2.0
CPU_WAIT_LIMIT_MS = 3.0
"""Limit on 99th percentiles, and on the wait for a processor in the worst twentieth of the call. Small compared with a
20 ms frame. Measured (`make bench BENCH=instrument`): a wait of 0.6 ms undisturbed, and 6 to 7 ms when busy loops of
the lowest and of normal priority made the delay's 99th percentile 11 to 18 ms longer."""
WORST_LIMIT_MS = 20.0
"""Limit on maxima: one frame. Beyond it a packet plays late, and the machine causes the largest gap and jitter."""
SAMPLE_EVERY_S = 0.1
_PARTS = 20


@dataclass(frozen=True)
class LatenessSummary:
    """How late packets left the emulator, ms."""

    p99_ms: float
    max_ms: float


def complaint(check: SelfCheck, send_p99_ms: float | None, send_max_ms: float | None, dropped: int) -> str | None:
    """Why a direction cannot be trusted, one clause per cause; empty if it can, None if nothing was sent."""
    if send_p99_ms is None:
        return None
    found = [
        f"{what} {value:.3g} ms ({limit:g} permitted)"
        for what, value, limit in (
            ("sent off the grid by (99th percentile)", send_p99_ms, SEND_DEVIATION_LIMIT_MS),
            ("sent off the grid by at most", send_max_ms, WORST_LIMIT_MS),
            ("the emulator was late by (99th percentile)", check.emulator_late_p99_ms, EMULATOR_LATE_LIMIT_MS),
            ("the emulator was late by at most", check.emulator_late_max_ms, WORST_LIMIT_MS),
            ("packets waited for processors, at worst for", check.cpu_wait_worst_ms, CPU_WAIT_LIMIT_MS),
        )
        if value is not None and value > limit
    ]
    if dropped:
        found.append(f"the captures missed {dropped} packets")
    return "; ".join(found)


class CpuWaits:
    """How long the processes of a path wait for a processor each time they become runnable.

    From /proc/PID/schedstat (Linux, Documentation/scheduler/sched-stats.rst): time spent waiting on a run queue, and
    the number of timeslices run. A packet wakes each process on its way about once, so its total wait is the sum, over
    the processes, of the mean wait per timeslice.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        """`processes`: name -> id, on this machine."""
        self._processes = dict(processes)
        self._samples: list[Mapping[str, tuple[int, int]]] = []

    @property
    def names(self) -> list[str]:
        """Names of the observed processes."""
        return list(self._processes)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Observe the processes until leaving."""
        task = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._sample()

    def summary(self) -> tuple[float, float] | None:
        """Mean wait over the call and mean over its worst twentieth, ms; None if no process was observed."""
        parts = np.array_split(np.arange(len(self._samples)), _PARTS)
        edges = [0, *(int(part[-1]) for part in parts if len(part))]
        waits = [
            self._between(self._samples[begin], self._samples[end])
            for begin, end in itertools.pairwise(edges)
            if end > begin
        ]
        if not waits or not any(self._samples[-1]):
            return None
        return self._between(self._samples[0], self._samples[-1]), max(waits)

    async def _watch(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _sample(self) -> None:
        found = {}
        for name, pid in self._processes.items():
            # An error: the process ended, which is noticed elsewhere, or this kernel has no schedstat.
            with suppress(OSError, ValueError, IndexError):
                _, waited_ns, runs = Path(f"/proc/{pid}/schedstat").read_text().split()
                found[name] = (int(waited_ns), int(runs))
        self._samples.append(found)

    @staticmethod
    def _between(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float:
        """Wait in ms, summed over all processes."""
        total = 0.0
        for name, (waited_ns, runs) in after.items():
            waited_before, runs_before = before.get(name, (waited_ns, runs))
            total += (waited_ns - waited_before) / max(1, runs - runs_before) / 1e6
        return total
