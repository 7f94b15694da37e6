"""From the kernel's receive stamps to the clock of a call.

The kernel stamps packets with CLOCK_REALTIME, which an operator or NTP may set in the middle of a call. The clock
of a call is CLOCK_MONOTONIC plus one offset, the same for both ends, so a step of the wall clock must be taken out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

STEP_NS = 1_000_000
"""A change of realtime - monotonic beyond this, plus the largest slew, is a step and not NTP's steering."""

SLEW_PPM = 500
"""The most that adjtime(3) steers the clock by: 500 parts in a million."""


UNSURE_NS = 100_000_000
"""How long after a step a packet may still wait to be read that was stamped before it."""


@dataclass(frozen=True)
class ClockStep:
    """The wall clock was set: when on the call's clock, and by how much."""

    at_ns: int
    by_ns: int


@dataclass
class CallClock:
    """Converts CLOCK_REALTIME stamps to call time = CLOCK_MONOTONIC + `epoch_offset_ns`. Reads no clock itself.

    `observe` is told both clocks around each read; `convert` then places a stamp. A stamp made before a step may be
    read after it, so for `UNSURE_NS` after a step both offsets are tried.
    """

    epoch_offset_ns: int
    steps: list[ClockStep] = field(default_factory=list)
    _offset_ns: int | None = None
    _before_step_ns: int | None = None
    _observed_ns: int = 0
    _step_seen_ns: int = 0

    def observe(self, realtime_ns: int, monotonic_ns: int) -> None:
        """Both clocks, read at one instant (see `sample_clocks`)."""
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
        """Call time, ns, of a CLOCK_REALTIME stamp made no later than the last observation."""
        if self._offset_ns is None:
            raise ValueError("a stamp cannot be converted before the clocks were observed")
        monotonic = stamp_ns - self._offset_ns
        if self._before_step_ns is not None and self._observed_ns - self._step_seen_ns < UNSURE_NS:
            # Stamps wait microseconds to be read: of the two offsets, the one that makes it latest, but not future.
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
