from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.capture.clock import CallClock, sample_clocks

SECOND = 10**9
EPOCH = 1_700_000_000 * SECOND


class Wall:
    """A wall clock that can be set, over a monotonic clock that cannot."""

    def __init__(self) -> None:
        self.monotonic = 50 * SECOND
        self.offset = EPOCH

    def read(self, clock: CallClock) -> None:
        clock.observe(self.monotonic + self.offset, self.monotonic)

    def stamp(self) -> int:
        return self.monotonic + self.offset


def test_stamps_come_back_as_monotonic_plus_the_calls_offset() -> None:
    wall, clock = Wall(), CallClock(epoch_offset_ns=7)
    stamp, stamped_at = wall.stamp(), wall.monotonic
    wall.monotonic += 30_000
    wall.read(clock)
    assert clock.convert(stamp) == stamped_at + 7
    assert clock.steps == []


@pytest.mark.parametrize("step", [3600 * SECOND, -3600 * SECOND, 5_000_000, -5_000_000])
def test_a_stepped_wall_clock_moves_no_packet(step: int) -> None:
    wall, clock = Wall(), CallClock(epoch_offset_ns=EPOCH)
    wall.read(clock)
    converted, true = [], []
    for packet in range(200):
        wall.monotonic += 20_000_000
        stamp, at = wall.stamp(), wall.monotonic
        if packet == 100:
            wall.offset += step  # after the kernel stamped packet 100, before it is read
        wall.monotonic += 50_000
        wall.read(clock)
        converted.append(clock.convert(stamp))
        true.append(at + EPOCH)
    assert converted == true
    assert [entry.by_ns for entry in clock.steps] == [step]


def test_a_step_between_packets_is_taken_out_and_told() -> None:
    wall, clock = Wall(), CallClock(epoch_offset_ns=0)
    wall.read(clock)
    wall.monotonic += SECOND // 10
    wall.offset -= 86_400 * SECOND
    wall.read(clock)
    wall.monotonic += 1_000_000
    stamp, at = wall.stamp(), wall.monotonic
    wall.monotonic += 20_000
    wall.read(clock)
    assert clock.convert(stamp) == at
    assert len(clock.steps) == 1


@given(st.lists(st.integers(min_value=-400, max_value=400), min_size=1, max_size=100))
def test_steering_by_ntp_is_not_a_step(parts_per_million: list[int]) -> None:
    wall, clock = Wall(), CallClock(epoch_offset_ns=0)
    wall.read(clock)
    for rate in parts_per_million:
        wall.monotonic += SECOND
        wall.offset += rate * 1000
        stamp, at = wall.stamp(), wall.monotonic
        wall.read(clock)
        assert clock.convert(stamp) == at
    assert clock.steps == []


def test_the_tightest_reading_is_taken() -> None:
    ticks = iter([0, 100_000, 200_000, 200_100, 0, 0, 0, 0])
    walls = iter([1, 2, 3, 4])
    assert sample_clocks(lambda: next(walls), lambda: next(ticks)) == (2, 200_050)


def test_no_conversion_before_the_clocks_were_seen() -> None:
    with pytest.raises(ValueError, match="observed"):
        CallClock(0).convert(1)
