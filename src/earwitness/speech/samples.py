"""Samples of 16 bits from samples of any width."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm


def to_int16(samples: NDArray[Any]) -> Pcm:
    """Round and clip to 16 bits."""
    rounded: NDArray[Any] = np.clip(np.rint(samples), -32768, 32767)
    return rounded.astype(np.int16)
