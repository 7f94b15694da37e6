"""What PJMEDIA does with the frames that its buffer hands out: decode, conceal, and give up after 240 ms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earwitness.ear.wsola import Extension
from earwitness.speech.codecs.base import Codec, Decoder

Pcm = NDArray[np.int16]

LONGEST_MS = 240
"""Concealment without a good frame in between ends after this."""


class PjmediaConcealment:
    """PJMEDIA's concealment of G.711 and GSM: WSOLA, frame by frame, 5 ms late; of Speex: the codec's own.

    Before the first good frame there is nothing to draw out, but the extension already fades, so that the first frame
    rises from silence. A gap longer than 240 ms is silence from there on, and the extension stays as it was until the
    next good frame.
    """

    def __init__(self, codec: Codec, decoder: Decoder) -> None:
        self._frame = codec.frame_samples
        self._most = -(-LONGEST_MS * codec.sample_rate // (1000 * codec.frame_samples))
        self._made = 0
        self._decoder = decoder
        self._extension: Extension | None = None
        if codec.name not in ("speex", "opus"):
            self._extension = Extension(codec.frame_samples, codec.sample_rate)
        self.delay = self._extension.delay if self._extension else 0

    def good(self, samples: Pcm) -> Pcm:
        """Good frames end the gap."""
        self._made = 0
        return self._extension.good(samples) if self._extension else samples

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """Missing frames, and empty instants, also those in a speaker's pause: PJMEDIA does not know the difference."""
        make = max(0, min(count, self._most - self._made))
        self._made += make
        silence = np.zeros((count - make) * self._frame, dtype=np.int16)
        if not make:
            return silence
        if self._extension:
            return np.concatenate((self._extension.missing(make), silence))
        made = [self._decoder.conceal() for _ in range(make)]
        return np.concatenate([*(one for one in made if one is not None), silence])

    def pause(self, count: int) -> Pcm:
        """Never asked for by PJMEDIA's own buffer; with another buffer, as if frames were missing."""
        return self.missing(count, None)
