"""Numbers the flows among many packets, by addresses and ports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I32, I64
from earwitness.trace.bytewindow import codes

_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)
"""Odd, with its bits spread: a product with it takes part in all bits of a word."""


def flow_numbers(addresses: NDArray[Any], ports: NDArray[Any]) -> tuple[I32, I64]:
    """The flow of each packet (n,), numbered from 0, and the first row of each flow (k,).

    `addresses` (n, 8 or 32) uint8, `ports` (n,): as in `Part`.
    """
    if addresses.shape[1] == 8:
        # All in one word: nearly always each is of one flow, which is then made sure of.
        words = addresses.view(np.uint64)[:, 0]
        number, distinct = codes(words ^ ports * _SPREAD)
        first = _first_rows(number, len(distinct))
        one = first[number]
        if bool((words[one] == words).all()) and bool((ports[one] == ports).all()):
            return number, first
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
    return number, _first_rows(number, count)


def _first_rows(number: I32, count: int) -> I64:
    """Where each of `count` numbers occurs first among (n,), (count,)."""
    first = np.zeros(count, dtype=np.int64)
    first[number[::-1]] = np.arange(len(number))[::-1]
    return first
