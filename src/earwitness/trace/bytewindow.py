"""Read many small fields out of one big buffer at once. The capture reader owes its speed to this module."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8


def window(data: U8, offsets: I64, width: int) -> U8:
    """The `width` bytes at each of `offsets` (n,): shape (n, width) uint8, a copy.

    An offset too close to the end is moved back so that the window fits and nothing outside the buffer is read. The
    caller must know which rows are too short and must not use them.
    """
    last = len(data) - width
    if last < 0 or not len(offsets):
        return np.zeros((len(offsets), width), dtype=np.uint8)
    # A view of overlapping items, one starting at every byte: selecting items is then one indexed copy.
    items: NDArray[Any] = np.ndarray((last + 1,), dtype=f"V{width}", buffer=data, strides=(1,))
    chosen = items[np.minimum(offsets, last)]
    return chosen.view(np.uint8).reshape(len(offsets), width)


def big_endian(fields: U8, at: int, width: int) -> NDArray[Any]:
    """The unsigned big-endian integer in columns `at : at + width` (2, 4 or 8) of `fields` (n, m): (n,) native."""
    return fields[:, at : at + width].view(f">u{width}")[:, 0].astype(f"u{width}")


_MOST_COMPARED = 24


def codes(values: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Number the distinct values of (n,) `values` from 0 in order of appearance: codes (n,), values (k,).

    A capture has only a handful of distinct values; comparing is then several times faster than the sort in
    `numpy.unique`, which is used if there are many.
    """
    found = _compared(values)
    if found is None:
        _, first, number = np.unique(values, return_index=True, return_inverse=True)
    else:
        number, first = found
    if len(first) < 2:
        return number.astype(np.int32), values[first]
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[number], values[first[order]]


def _compared(values: NDArray[Any]) -> tuple[I64, I64] | None:
    """The number of each of (n,) values, in any order, and where each number occurs first; None if they are many."""
    number = np.zeros(len(values), dtype=np.int64)
    first: list[int] = []
    left, rest = np.arange(len(values)), values
    while len(left):
        if len(first) == _MOST_COMPARED:
            return None
        # A value in the middle is likely to be a frequent one, which leaves less for the next comparison.
        other = rest != rest[len(rest) // 2]
        mine, others = left[(~other).nonzero()[0]], other.nonzero()[0]
        number[mine] = len(first)
        first.append(int(mine[0]))
        left, rest = left[others], rest[others]
    return number, np.array(first, dtype=np.int64)
