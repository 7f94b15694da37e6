"""Sequence numbers and timestamps without wraps, strays and restarts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_stray_packet_is_very_old_and_changes_nothing_else() -> None:
    found = extend_sequence(np.array([500, 501, 40_000, 502, 503]))
    kept = np.delete(found, 2)
    assert np.diff(kept).tolist() == [1, 1, 1]
    assert found[2] < kept.min()


def test_a_restart_goes_on_upwards_so_that_no_number_comes_twice() -> None:
    found = extend_sequence(np.array([500, 501, 502, 7, 8, 9]))
    assert np.diff(found).tolist() == [1, 1, 65_536 - 495, 1, 1]


def test_nothing_stays_nothing() -> None:
    assert len(extend_sequence(np.zeros(0, dtype=np.int64))) == 0
    assert len(extend(np.zeros(0, dtype=np.int64), 32)) == 0
