"""Waveform-similarity extension: prolongs the last audio over a gap and joins it to what follows.

WSOLA after Verhelst and Roelands (ICASSP 1993), used for packet-loss concealment as in PJMEDIA: find the part of the
recent audio most similar to its end, cross-fade to what followed it there, and repeat. Output is delayed by one
cross-fade, so that a gap can begin with one; a long extension fades out.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import F32, Pcm


class Extension:
    """Audio of one stream that can be prolonged where frames are missing. Mutable.

    Sizes are in samples: `frame` is the frame length, `history` how far back to search for similarity (PJMEDIA: 1.5
    frames), `overlap_ms` the cross-fade (also the length of the template compared, and the delay added). The extension
    fades linearly to silence within `fade_ms`. `by_shape` compares waveforms independent of loudness; PJMEDIA does not.
    """

    def __init__(
        self,
        frame: int,
        sample_rate: int,
        *,
        overlap_ms: int = 5,
        fade_ms: int = 80,
        history: int | None = None,
        nearest: int | None = None,
        by_shape: bool = False,
    ) -> None:
        self.frame = frame
        self.overlap = min(overlap_ms * sample_rate // 1000, frame)
        self.fade = fade_ms * sample_rate // 1000
        self.history = frame * 3 // 2 if history is None else history
        self._nearest, self._farthest = frame // 2 if nearest is None else nearest, self.history
        self._by_shape = by_shape
        self._fade_left = self.fade
        self._lost = False
        # Known audio: `history` samples already played, then those still to be played.
        self._sound: Pcm = np.zeros(self.history + self.overlap, dtype=np.int16)
        rising = np.arange(self.overlap, dtype=np.float64)
        self._window: F32 = (0.5 - 0.5 * np.cos(2.0 * np.pi * rising / (2 * self.overlap - 1))).astype(np.float32)
        self._ramp: F32 = _falling_ramp(self.overlap)

    @property
    def delay(self) -> int:
        """Delay of good frames from input to output, samples."""
        return self.overlap

    @property
    def frames_to_silence(self) -> int:
        """Consecutive missing frames after which the output is silence."""
        return -(-self._fade_left // self.frame)

    def good(self, samples: Pcm) -> Pcm:
        """Feed one or more complete frames, (k * frame,) int16; returns as many samples to play."""
        if self._lost:
            samples = self._join(samples)
        self._lost = False
        self._fade_left = self.fade
        known = np.concatenate((self._sound, samples))
        out = known[self.history : self.history + len(samples)]
        self._sound = known[len(samples) :]
        return out

    def missing(self, count: int) -> Pcm:
        """`count` missing frames; returns (count * frame,) int16 to play instead."""
        return np.concatenate([self._one_missing() for _ in range(count)])

    def _one_missing(self) -> Pcm:
        self._lost = True
        wanted = self.history + self.frame + 2 * self.overlap
        while len(self._sound) < wanted:
            self._extend()
        out = self._sound[self.history : self.history + self.frame].copy()
        self._sound = self._sound[self.frame :]
        self._fade_out(out)
        return out

    def _extend(self) -> None:
        """Append one matching piece of earlier audio."""
        sound, overlap = self._sound, self.overlap
        end = len(sound) - overlap
        first = end - self._farthest
        region = sound[first : end - self._nearest + overlap - 1].astype(np.float64)
        likeness = np.correlate(region, sound[end:].astype(np.float64), "valid")
        if self._by_shape:
            energy = np.convolve(region * region, np.ones(overlap), "valid")
            likeness /= np.sqrt(energy) + 1.0
        best = int(np.argmax(likeness))
        start = first + (best if likeness[best] > 0 else 0)
        earlier = sound[start:]
        joined = sound[end:] * self._window[::-1] + earlier[:overlap] * self._window
        self._sound = np.concatenate((sound[:end], joined.astype(np.int16), earlier[overlap:]))

    def _fade_out(self, samples: Pcm) -> None:
        """Continue the fade over these samples, in place."""
        left = self._fade_left
        if left == 0:
            samples[:] = 0
            return
        gain = np.arange(left, left - len(samples), -1, dtype=np.float32)
        np.maximum(gain, 0, out=gain)
        samples[:] = (samples * gain / np.float32(self.fade)).astype(np.int16)
        self._fade_left = max(0, left - len(samples))

    def _join(self, samples: Pcm) -> Pcm:
        """Resume after a gap: the rest of the extension fades out while the new frame fades in."""
        overlap = self.overlap
        sound = self._sound[: self.history + 2 * overlap].copy()
        self._fade_out(sound[-2 * overlap :])
        samples = samples.copy()
        begin = self._fade_left * overlap // self.fade
        if begin < overlap:
            gain = np.arange(begin, overlap, dtype=np.float32)
            head = samples[: overlap - begin]
            samples[: overlap - begin] = (head * gain / np.float32(overlap)).astype(np.int16)
        crossed = sound[-overlap:] * self._ramp + samples[:overlap] * (np.float32(1) - self._ramp)
        samples[:overlap] = crossed.astype(np.int16)
        self._sound = sound[:-overlap]
        return samples


def _falling_ramp(count: int) -> F32:
    """1 falling to nearly 0 by repeated single-precision subtraction."""
    ramp = np.empty(count, dtype=np.float32)
    step, value = np.float32(1.0 / count), np.float32(1.0)
    for index in range(count):
        ramp[index] = value
        value = np.float32(value - step)
    return ramp
