"""Numbers the flows among many packets, by addresses and ports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I32, I64
from earwitness.trace.bytewindow import codes


def flow_numbers(addresses: NDArray[Any], ports: NDArray[Any]) -> tuple[I32, I64]:
    """The flow of each packet (n,), numbered from 0, and the first row of each flow (k,).

    `addresses` (n, 8 or 32) uint8, `ports` (n,): as in `Part`.
    """
    number, distinct = codes(ports)
    count = len(distinct)
    for column in range(0, addresses.shape[1], 8):
        word, distinct = codes(addresses[:, column : column + 8].copy().view(np.uint64)[:, 0])
        both = number.astype(np.int64) * len(distinct) + word
        if count * len(distinct) > 65_536:
            number, _ = codes(both)
            count = int(number.max()) + 1 if len(number) else 0
        else:
            used = np.bincount(both, minlength=count * len(distinct)) > 0
            number = (np.cumsum(used, dtype=np.int32) - 1)[both]
            count = int(used.sum())
    first = np.zeros(count, dtype=np.int64)
    rows = np.arange(len(number))[::-1]
    first[number[rows]] = rows
    return number, first
