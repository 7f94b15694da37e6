"""Differences between successive packets, and the one that occurs most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64

_COUNTED_UP_TO = 65_536


def steps(values: NDArray[Any]) -> NDArray[Any]:
    """Differences between successive values, (n - 1,): `numpy.diff` without its overhead, in a quarter of the time."""
    return np.asarray(values[1:] - values[:-1])


def most_frequent(values: I64) -> int | None:
    """The value that occurs most in (n,) integers of at least 0, the smallest of several; None if there are none."""
    if not len(values):
        return None
    if int(values.max()) < _COUNTED_UP_TO:
        return int(np.argmax(np.bincount(values)))
    found, counts = np.unique(values, return_counts=True)
    return int(found[np.argmax(counts)])


def usual_step(sequence: I64, timestamp: I64) -> int | None:
    """The usual timestamp step between consecutive sequence numbers, ticks, from (n,) packets in order of arrival.

    Over the first copy of each packet, in sequence order: the most frequent step; where none makes up a quarter (a
    sender that reads its timestamps from a clock), the median. None if no two consecutive packets arrived.
    """
    apart = steps(sequence)
    if not bool((apart > 0).all()):
        sequence, first = np.unique(sequence, return_index=True)
        timestamp, apart = timestamp[first], steps(sequence)
    step = steps(timestamp)[apart == 1]
    step = step[step > 0]
    if not len(step):
        return None
    # Nearly always one step is that of more than half of the packets; then it is known without counting them all.
    middle = int(step[len(step) // 2])
    if int(np.count_nonzero(step == middle)) * 2 > len(step):
        return middle
    usual = most_frequent(step)
    if usual is not None and int(np.count_nonzero(step == usual)) * 4 >= len(step):
        return usual
    return int(np.partition(step, len(step) // 2)[len(step) // 2])
