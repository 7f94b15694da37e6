"""Sequence numbers and timestamps without wraps, strays and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.arrays import I64
from earwitness.trace.extend import extend, extend_sequence


@given(st.integers(0, 2**40), st.lists(st.integers(-90, 2900), max_size=200))
def test_loss_reordering_and_wraps_are_undone(first: int, steps: list[int]) -> None:
    true = np.cumsum([first, *steps]).astype(np.int64)
    found = extend_sequence(true & 0xFFFF)
    assert (np.diff(found) == np.diff(true)).all()
    assert ((found - true) % 0x10000 == 0).all()
    assert found.min() >= 0


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=100))
def test_timestamps_keep_their_steps(first: int, steps: list[int]) -> None:
    true = np.cumsum([first, *steps]).astype(np.int64)
    found = extend(true & 0xFFFFFFFF, 32)
    assert (np.diff(found) == np.diff(true)).all()
    assert found.min() >= 0


@pytest.mark.parametrize("off", [20_000, -5000, -200])
@pytest.mark.parametrize("timed", [True, False])
def test_a_stray_packet_is_a_second_copy_and_changes_nothing_else(off: int, timed: bool) -> None:
    true = 30_000 + np.arange(100)
    sent = np.where(np.arange(100) == 50, true + off, true)
    found = extend_sequence(sent & 0xFFFF, np.arange(100) * 160 if timed else None)
    kept = np.delete(found, 50)
    assert (kept - kept[0]).tolist() == [*range(50), *range(51, 100)]
    assert found[50] == found[49]


def late_by(packets: int, rows: list[int], count: int = 500) -> tuple[I64, I64]:
    """Numbers and timestamps of packets, in order of arrival, of which some come late by that many packets."""
    number = np.arange(count)
    order = np.argsort(np.where(np.isin(number, rows), number + packets + 0.5, number), kind="stable")
    return number[order], number[order] * 160


@pytest.mark.parametrize("rows", [[100], [100, 101], [100, 130, 340], [349], [498, 499]])
def test_a_packet_that_comes_late_by_seconds_keeps_its_number(rows: list[int]) -> None:
    number, timestamp = late_by(150, rows)
    found = extend_sequence(number, timestamp)
    assert (found - found[0]).tolist() == number.tolist()


def test_a_late_packet_from_before_a_pause_keeps_its_number() -> None:
    number, timestamp = late_by(150, [100])
    found = extend_sequence(number, timestamp + np.where(number > 200, 80_000, 0))
    assert (found - found[0]).tolist() == number.tolist()


@pytest.mark.parametrize("lag", [101, 150, 250])
def test_a_second_copy_of_all_that_lags_behind_has_the_same_numbers(lag: int) -> None:
    number = np.concatenate([np.arange(300), np.arange(300)])
    order = np.argsort(np.concatenate([np.arange(300), np.arange(300) + lag + 0.5]), kind="stable")
    found = extend_sequence(number[order], number[order] * 160)
    assert (found - found[0]).tolist() == number[order].tolist()


def test_the_same_packets_once_more_afterwards_are_a_restart() -> None:
    """As from a sender that plays a file in a loop."""
    number = np.concatenate([np.arange(2000), np.arange(2000)])
    found = extend_sequence(number, number * 160)
    assert len(np.unique(found)) == 4000
    assert (np.diff(found) > 0).all()


def test_a_restart_goes_on_upwards_so_that_no_number_comes_twice() -> None:
    found = extend_sequence(np.array([500, 501, 502, 7, 8, 9]))
    assert np.diff(found).tolist() == [1, 1, 65_536 - 495, 1, 1]


def test_nothing_stays_nothing() -> None:
    assert len(extend_sequence(np.zeros(0, dtype=np.int64))) == 0
    assert len(extend(np.zeros(0, dtype=np.int64), 32)) == 0
