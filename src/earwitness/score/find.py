"""Finds the reference in what was heard, if it is unknown when it was said."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm

_BLOCK_MS = 8
_MARGIN_MS = 500
"""Margin around it, for changes of delay during the call; PESQ aligns the rest."""


def find_reference(reference: Pcm, heard: Pcm, sample_rate: int) -> int:
    """The sample of `heard` (m,) at which `reference` (n,) begins, to 8 ms; negative if its beginning is cut off.

    Found by cross-correlation of the envelopes. If it was said several times, the best match; 0 for silence.
    """
    block = max(1, sample_rate * _BLOCK_MS // 1000)
    ours, theirs = _envelope(reference, block), _envelope(heard, block)
    if not len(ours) or not len(theirs):
        return 0
    size = len(ours) + len(theirs) - 1
    likeness = np.fft.irfft(np.fft.rfft(theirs, size) * np.conj(np.fft.rfft(ours, size)), size)
    best = int(np.argmax(likeness))
    return (best if best < len(theirs) else best - size) * block


def around_reference(reference: Pcm, heard: Pcm, sample_rate: int) -> tuple[Pcm, int]:
    """The part of `heard` to be scored, and the position of the reference in `heard`, samples."""
    at = find_reference(reference, heard, sample_rate)
    margin = sample_rate * _MARGIN_MS // 1000
    return heard[max(0, at - margin) : max(0, at + len(reference) + margin)], at


def _envelope(samples: Pcm, block: int) -> NDArray[np.float64]:
    """Root mean square of each complete block, minus the mean."""
    whole = samples[: len(samples) // block * block].astype(np.float64).reshape(-1, block)
    levels = np.sqrt(np.mean(whole**2, axis=1))
    return np.asarray(levels - np.mean(levels) if len(levels) else levels, dtype=np.float64)
