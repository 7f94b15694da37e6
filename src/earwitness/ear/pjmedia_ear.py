"""What PJMEDIA does with the frames from its buffer: decode, conceal, and stop concealing after 240 ms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.wsola import Extension
from earwitness.speech.codecs.base import Codec, Decoder, MalformedFrame
from earwitness.speech.codecs.registry import CODECS

LONGEST_MS = 240
"""Longest concealment without a good frame in between."""


class PjmediaConcealment:
    """PJMEDIA's concealment: WSOLA, frame by frame and 5 ms late, for G.711 and GSM; the codec's own for Speex.

    Before the first good frame there is nothing to prolong, but the extension already fades, so the first frame rises
    from silence. After 240 ms a gap continues as silence, and the extension's state is kept until the next good frame.
    """

    def __init__(self, codec: Codec, decoder: Decoder) -> None:
        self._frame = codec.frame_samples
        self._most = -(-LONGEST_MS * codec.sample_rate // (1000 * codec.frame_samples))
        self._made = 0
        self._decoder = decoder
        self._extension: Extension | None = None
        kind = CODECS.find(codec.name)
        if kind is None or not kind.has_own_concealment:
            self._extension = Extension(codec.frame_samples, codec.sample_rate)
        self.delay = self._extension.delay if self._extension else 0
        if kind is not None and kind.held_back_by_pjmedia:
            self.delay = codec.frame_samples

    def good(self, samples: Pcm) -> Pcm:
        """Good frames, which end a gap."""
        self._made = 0
        return self._extension.good(samples) if self._extension else samples

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """Missing frames and empty ticks, including those in a speaker's pause: PJMEDIA cannot distinguish them."""
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
        """Treated as missing frames. PJMEDIA's own buffer never reports a pause."""
        return self.missing(count, None)


class HeldBack:
    """PJMEDIA's Opus decoder: holds back the newest frame and returns the one before.

    When a frame is missing, the held frame is played first, then the codec conceals; when frames arrive again, the
    in-band FEC of the first one fills its predecessor's place. Everything plays one frame later.
    """

    def __init__(self, decoder: Decoder, frame: int) -> None:
        self._decoder = decoder
        self._frame = frame
        self._begun = False
        self._kept: bytes | None = None

    def decode(self, frame: bytes) -> Pcm:
        """Decode the frame before this one."""
        before: Pcm = self.decode_many([frame])[0]
        return before

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        """Decode the frames before these, (n, frame_samples) int16."""
        if not frames:
            return np.zeros((0, self._frame), dtype=np.int16)
        kept, self._kept = self._kept, frames[-1]
        if kept is not None:
            return self._decoder.decode_many([kept, *frames[:-1]])
        if not self._begun:
            self._begun = True
            first = None
        else:
            first = self._decoder.recover(frames[0])
            if first is None:
                first = self._decoder.conceal()
        if first is None:
            first = np.zeros(self._frame, dtype=np.int16)
        return np.concatenate((first[None, :], self._decoder.decode_many(frames[:-1])))

    def conceal(self) -> Pcm | None:
        """The held frame, else the codec's concealment."""
        if not self._begun:
            return np.zeros(self._frame, dtype=np.int16)
        kept, self._kept = self._kept, None
        try:
            return self._decoder.conceal() if kept is None else self._decoder.decode_many([kept])[0]
        except MalformedFrame:
            return self._decoder.conceal()

    def recover(self, next_frame: bytes) -> Pcm | None:
        """Unused: FEC is applied when the next frame is played."""
        return None


def pjmedia_decoder(codec: Codec, decoder: Decoder) -> Decoder:
    """The decoder as PJMEDIA runs it: Opus through `HeldBack`, others unchanged."""
    kind = CODECS.find(codec.name)
    return HeldBack(decoder, codec.frame_samples) if kind is not None and kind.held_back_by_pjmedia else decoder
