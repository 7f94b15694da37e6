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
    column = np.ascontiguousarray(fields[:, at : at + width])
    return column.view(f">u{width}")[:, 0].astype(f"u{width}")


def codes(values: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Number the distinct values of (n,) `values` from 0 in order of appearance: codes (n,), values (k,).

    A capture has only a handful of distinct values; comparing is then several times faster than the sort in
    `numpy.unique`, which is used if there are many.
    """
    numbered = np.zeros(len(values), dtype=np.int32)
    found: list[int] = []
    remaining = np.arange(len(values)) if len(values) else np.zeros(0, dtype=np.int64)
    rest = values
    while len(remaining):
        if len(found) == 24:
            _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
            order = np.argsort(first)
            rank = np.empty(len(order), dtype=np.int32)
            rank[order] = np.arange(len(order), dtype=np.int32)
            return rank[inverse.reshape(-1)], values[first[order]]
        same = rest == rest[0]
        numbered[remaining[same]] = len(found)
        found.append(int(remaining[0]))
        remaining, rest = remaining[~same], rest[~same]
    return numbered, values[np.array(found, dtype=np.int64)]
