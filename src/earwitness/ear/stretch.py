"""Changes the speed of speech without changing its pitch: WSOLA to an exact length (Verhelst and Roelands, ICASSP
1993)."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import Pcm

_STEP_MS = 10
_SEARCH_MS = 5


def least_samples(sample_rate: int) -> int:
    """Minimum length of speech before and after stretching, samples: two windows."""
    return 4 * (_STEP_MS * sample_rate // 1000)


def stretch(samples: Pcm, length: int, sample_rate: int) -> Pcm:
    """Stretch or compress (n,) int16 speech to exactly `length` samples, (length,) int16; both ends stay unchanged.

    Windows of 20 ms are placed 10 ms apart. Each is taken from within 5 ms of its nominal position in the original,
    where it best continues the previous one. The first and last windows come from the very ends, so that the speech
    before and after joins seamlessly.
    """
    step = _STEP_MS * sample_rate // 1000
    count, window, search = len(samples), 2 * step, _SEARCH_MS * sample_rate // 1000
    if length == count:
        return samples
    least = least_samples(sample_rate)
    if min(count, length) < least:
        raise ValueError(f"{count} samples cannot be stretched to {length}: at least {least} of each are needed")
    sound = samples.astype(np.float64)
    rising = 0.5 - 0.5 * np.cos(np.pi * (np.arange(step) + 0.5) / step)
    out = np.zeros(length)
    out[:window] = sound[:window]
    last = length - window
    begin = place = 0
    while place < last:
        forward = min(step, last - place)
        place += forward
        # The existing audio continues for at most one step; the new window fades in over it.
        tail = out[place : place + step]
        if place == last:
            begin = count - window
        else:
            nominal = round(place * (count - window) / last)
            low, high = max(0, nominal - search), min(count - window, nominal + search)
            likeness = np.correlate(sound[low : high + step], tail, "valid")
            begin = low + int(np.argmax(likeness))
        new = sound[begin : begin + window]
        overlap = min(step, window - forward)
        out[place : place + overlap] *= 1.0 - rising[:overlap]
        out[place : place + overlap] += new[:overlap] * rising[:overlap]
        out[place + overlap : place + window] = new[overlap:]
    return np.clip(np.rint(out), -32768, 32767).astype(np.int16)
