"""A sender that begins its numbers anew, also more than once, and packets that come late over it: nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

from earwitness.trace.timing import Timing, summarise
from testing.trace.numbering import received

EACH = 40


def begun_at(numbers: list[int], timestamps: list[int] | None = None) -> Timing:
    """What is found of a stream that begins anew at each of these sequence numbers, after 40 packets each time; the
    timestamps go on, or begin anew as well."""
    each = np.arange(EACH)
    sequence = np.concatenate([begin + each for begin in numbers])
    row = np.arange(len(sequence))
    ticks = row * 160 if timestamps is None else np.concatenate([begin + each * 160 for begin in timestamps])
    return summarise(received(sequence, ticks, row * 20))


@pytest.mark.parametrize(
    "numbers",
    [
        [20_000, 15_000, 40_000],
        [20_000, 10_000, 30_000],
        [20_000, 15_000, 25_000],
        [8986, 62_848, 4432, 33_692],
        [1000, 31_000, 1000, 31_000, 500],
        [40_000, 39_000, 39_500, 50_000],
    ],
)
@pytest.mark.parametrize("anew", [False, True])
def test_every_restart_is_one_and_no_loss(numbers: list[int], anew: bool) -> None:
    begins = [1_467_372_771, 1_218_228_230, 11_000_000, 2_000_000_000, 77][: len(numbers)]
    found = begun_at(numbers, begins if anew else None)
    assert (found.packets_received, found.packets_lost, found.packets_duplicate) == (EACH * len(numbers), 0, 0)
    assert (found.sequence_restarts, found.timestamp_jumps) == (len(numbers) - 1, 0)
    assert found.pdv_max_ms == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_restarts_to_any_number_and_timestamp_are_told(seed: int) -> None:
    random = np.random.default_rng(seed)
    numbers, ticks = random.integers(0, 2**16, size=4).tolist(), random.integers(0, 2**32, size=4).tolist()
    found = begun_at(numbers, ticks)
    assert (found.packets_received, found.packets_lost) == (EACH * 4, 0)
    assert (found.sequence_restarts, found.timestamp_jumps) == (3, 0)


@pytest.mark.parametrize("restart", [30_000, 7744, 500, -5000, -30_000])
@pytest.mark.parametrize("late_ms", [45, 97, 130])
def test_the_first_packet_of_a_new_numbering_may_come_late(restart: int, late_ms: int) -> None:
    row = np.arange(100)
    came = row * 20.0 + row * 7 % 5 * 0.3 + np.where(row == 50, late_ms, 0)
    found = summarise(received(40_000 + row + np.where(row >= 50, restart, 0), row * 160, came))
    assert (found.packets_received, found.packets_lost, found.packets_reordered) == (100, 0, 1)
    assert (found.sequence_restarts, found.timestamp_jumps) == (1, 0)


@pytest.mark.parametrize("restart", [30_000, -5000, 2400, -400])
@pytest.mark.parametrize("ticks", [0, 2**30])
@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("after", [1, 2, 7])
def test_the_last_packet_of_the_old_numbering_may_come_after_the_first_of_the_new(
    restart: int, ticks: int, copy: bool, after: int
) -> None:
    row = np.arange(100)
    sequence, timestamp = 40_000 + row + np.where(row >= 50, restart, 0), row * 160 + np.where(row >= 50, ticks, 0)
    came = row * 20.0
    late_ms = 20 * after + 5
    rows = np.append(row, 49) if copy else row
    delay = np.append(np.zeros(100), late_ms) if copy else np.where(row == 49, late_ms, 0)
    found = summarise(received(sequence[rows], timestamp[rows], came[rows] + delay))
    assert (found.packets_received, found.packets_lost, found.packets_duplicate) == (100, 0, int(copy))
    assert (found.sequence_restarts, found.timestamp_jumps) == (1, 0)
    assert found.packets_reordered == int(not copy)
    assert found.pdv_max_ms == pytest.approx(0 if copy else late_ms)


@pytest.mark.parametrize(
    ("before", "after", "back"), [(43, 51, 62), (20, 90, 100), (10, 51, 62), (60, 63, 31), (31, 63, 10)]
)
@pytest.mark.parametrize("ticks", [-772_365_149, -1_000_000, -40_000, 1_000_000])
def test_a_restart_a_little_below_is_told_by_timestamps_that_are_not_of_their_place(
    before: int, after: int, back: int, ticks: int
) -> None:
    """Also below the first number of the capture."""
    row = np.arange(before + after)
    sequence = 27_648 + row - np.where(row >= before, back + 1, 0)
    found = summarise(received(sequence, 3_388_816_783 + row * 160 + np.where(row >= before, ticks, 0), row * 20))
    assert (found.packets_received, found.packets_lost, found.packets_duplicate) == (before + after, 0, 0)
    assert (found.sequence_restarts, found.timestamp_jumps) == (1, 0)
    assert (found.pdv_max_ms, found.jitter_max_ms) == (0.0, 0.0)


@pytest.mark.parametrize("length", [12, 50, 90, 110])
def test_a_clip_that_is_sent_again_with_the_same_numbers_is_no_second_copy(length: int) -> None:
    row = np.arange(3 * length)
    found = summarise(received(row % length, row % length * 160, row * 20))
    assert (found.packets_received, found.packets_duplicate, found.sequence_restarts) == (3 * length, 0, 2)


def test_what_comes_again_in_a_burst_is_a_second_copy() -> None:
    again = np.arange(50)
    number = np.concatenate([again, again, np.arange(50, 200)])
    came = np.concatenate([again * 20, 990 + again * 0.1, np.arange(50, 200) * 20])
    found = summarise(received(number, number * 160, came))
    assert (found.packets_received, found.packets_duplicate, found.sequence_restarts) == (200, 50, 0)


@pytest.mark.parametrize("numbers", [[1000, 31_000], [31_000, 1000], [20_000, 15_000, 40_000]])
def test_a_mirror_port_doubles_every_packet_and_changes_nothing_else(numbers: list[int]) -> None:
    each = np.arange(EACH)
    sequence = np.repeat(np.concatenate([begin + each for begin in numbers]), 2)
    row = np.repeat(np.arange(len(sequence) // 2), 2)
    found = summarise(received(sequence, row * 160, row * 20 + np.arange(len(row)) % 2 * 0.02))
    assert (found.packets_received, found.packets_lost) == (EACH * len(numbers), 0)
    assert (found.packets_duplicate, found.sequence_restarts) == (EACH * len(numbers), len(numbers) - 1)
