"""Converts the kernel's receive timestamps to the clock of a call.

The kernel timestamps packets with CLOCK_REALTIME, which an operator or NTP may set during a call. The clock of a call
is CLOCK_MONOTONIC plus one offset, the same for both ends, so steps of the wall clock must be removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

STEP_NS = 1_000_000
"""A larger change of realtime - monotonic, beyond the maximum slew, is a step rather than NTP's steering."""

SLEW_PPM = 500
"""Maximum rate at which adjtime(3) slews the clock: 500 parts per million."""


UNSURE_NS = 100_000_000
"""How long after a step a packet stamped before it may still be waiting to be read."""


@dataclass(frozen=True)
class ClockStep:
    """The wall clock was set: when on the call's clock, and by how much."""

    at_ns: int
    by_ns: int


@dataclass
class CallClock:
    """Converts CLOCK_REALTIME timestamps to call time = CLOCK_MONOTONIC + `epoch_offset_ns`. Reads no clock itself.

    Call `observe` with both clocks around each read; `convert` then converts a timestamp. A timestamp taken before a
    step may be read after it, so both offsets are tried for `UNSURE_NS` after a step.
    """

    epoch_offset_ns: int
    steps: list[ClockStep] = field(default_factory=list)
    _offset_ns: int | None = None
    _before_step_ns: int | None = None
    _observed_ns: int = 0
    _step_seen_ns: int = 0

    def observe(self, realtime_ns: int, monotonic_ns: int) -> None:
        """Record both clocks, read at the same instant (see `sample_clocks`)."""
        offset = realtime_ns - monotonic_ns
        if self._offset_ns is not None:
            allowed = STEP_NS + (monotonic_ns - self._observed_ns) * SLEW_PPM // 1_000_000
            if abs(offset - self._offset_ns) > allowed:
                self._before_step_ns = self._offset_ns
                self._step_seen_ns = monotonic_ns
                self.steps.append(ClockStep(monotonic_ns + self.epoch_offset_ns, offset - self._offset_ns))
        self._offset_ns = offset
        self._observed_ns = monotonic_ns

    def convert(self, stamp_ns: int) -> int:
        """Call time, ns, of a CLOCK_REALTIME timestamp taken no later than the last observation."""
        if self._offset_ns is None:
            raise ValueError("a stamp cannot be converted before the clocks were observed")
        monotonic = stamp_ns - self._offset_ns
        if self._before_step_ns is not None and self._observed_ns - self._step_seen_ns < UNSURE_NS:
            # Timestamps wait only microseconds to be read: use the offset that gives the latest time not in the future.
            other = stamp_ns - self._before_step_ns
            past = [time for time in (monotonic, other) if time <= self._observed_ns + STEP_NS // 2]
            monotonic = max(past, default=monotonic)
        return monotonic + self.epoch_offset_ns


def sample_clocks(
    realtime: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
) -> tuple[int, int]:
    """CLOCK_REALTIME and CLOCK_MONOTONIC at one instant, ns: the tightest of up to four bracketed readings."""
    best: tuple[int, int, int] | None = None
    for _ in range(4):
        before = monotonic()
        wall = realtime()
        after = monotonic()
        if best is None or after - before < best[0]:
            best = (after - before, wall, (before + after) // 2)
        if best[0] < 5_000:
            break
    assert best is not None
    return best[1], best[2]
