"""Finds where the reference begins in the heard audio, for calls whose record does not say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RATE = 1000
"""Envelope samples per second: a millisecond is finer than visible on the waveform or audible when switching."""


def reference_at_s(
    reference: NDArray[np.int16], reference_rate: int, heard: NDArray[np.int16], heard_rate: int
) -> float:
    """Seconds from the first heard sample to the first of the reference: where the loudness curves match best.

    Negative if the beginning was not heard; 0 if either is silent.
    """
    said, got = _loudness(reference, reference_rate), _loudness(heard, heard_rate)
    if not said.any() or not got.any():
        return 0.0
    from scipy.signal import correlate  # a second to import, and few calls need it

    agreement = correlate(got, said, mode="full", method="fft")
    return float(np.argmax(agreement) - (len(said) - 1)) / _RATE


def _loudness(sound: NDArray[np.int16], rate: int) -> NDArray[np.float64]:
    """Mean magnitude per millisecond, on a scale between linear and logarithmic, minus its mean."""
    edges = np.arange(0, len(sound) * _RATE // rate) * rate // _RATE
    if not len(edges):
        return np.zeros(1)
    total = np.add.reduceat(np.abs(sound.astype(np.float64)), edges)
    level = np.sqrt(total / np.diff(np.append(edges, len(sound))))
    return np.asarray(level - level.mean())
