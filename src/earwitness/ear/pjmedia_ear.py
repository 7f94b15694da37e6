"""What PJMEDIA does with the frames from its buffer: decode, conceal, and stop concealing after 240 ms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.decoding import FrameDecoder
from earwitness.ear.wsola import Extension
from earwitness.speech.codecs.base import Codec, MalformedFrame
from earwitness.speech.codecs.registry import CODECS

LONGEST_MS = 240
"""Longest concealment without a good frame in between."""
_FRAME_MS = 10
"""PJMEDIA's frame of G.711: how far back it looks does not shrink with shorter ones."""


class PjmediaConcealment:
    """PJMEDIA's concealment: WSOLA, frame by frame and 5 ms late, for G.711 and GSM; the codec's own for Speex.

    Before the first good frame there is nothing to prolong, but the extension already fades, so the first frame rises
    from silence. After 240 ms a gap continues as silence, and the extension's state is kept until the next good frame.
    """

    def __init__(self, codec: Codec, decoder: FrameDecoder) -> None:
        frame, rate = decoder.frame_samples, decoder.sample_rate
        self._frame = frame
        self._most = -(-LONGEST_MS * rate // (1000 * frame))
        self._made = 0
        self._decoder = decoder
        self._extension: Extension | None = None
        kind = CODECS.find(codec.name)
        if kind is None or not kind.has_own_concealment:
            usual = max(frame, _FRAME_MS * rate // 1000)
            self._extension = Extension(frame, rate, history=usual * 3 // 2, nearest=usual // 2)
        self.delay = self._extension.delay if self._extension else 0
        if kind is not None and kind.held_back_by_pjmedia:
            self.delay = frame

    def good(self, samples: Pcm) -> Pcm:
        """Good frames, which end a gap."""
        self._made = 0
        return self._extension.good(samples) if self._extension else samples

    def missing(self, count: int, next_frame: int | None) -> Pcm:
        """Missing frames and empty ticks, including those in a speaker's pause: PJMEDIA cannot distinguish them."""
        make = max(0, min(count, self._most - self._made))
        self._made += make
        silence = np.zeros((count - make) * self._frame, dtype=np.int16)
        if not make:
            return silence
        if self._extension:
            return np.concatenate((self._extension.missing(make), silence))
        made = [self._decoder.conceal() for _ in range(make)]
        nothing = np.zeros(self._frame, dtype=np.int16)
        return np.concatenate([*(nothing if one is None else one for one in made), silence])

    def pause(self, count: int) -> Pcm:
        """Treated as missing frames. PJMEDIA's own buffer never reports a pause."""
        return self.missing(count, None)


class HeldBack:
    """PJMEDIA's Opus decoder: holds back the newest frame and returns the one before.

    When a frame is missing, the held frame is played first, then the codec conceals; when frames arrive again, the
    in-band FEC of the first one fills its predecessor's place. Everything plays one frame later.
    """

    def __init__(self, decoder: FrameDecoder) -> None:
        self._decoder = decoder
        self.frame_samples, self.sample_rate = decoder.frame_samples, decoder.sample_rate
        self._begun = False
        self._kept: int | None = None

    def decode_many(self, frames: Sequence[int]) -> Pcm:
        """Decode the frames before these, (n, frame_samples) int16."""
        size = self.frame_samples
        if not frames:
            return np.zeros((0, size), dtype=np.int16)
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
            first = np.zeros(size, dtype=np.int16)
        # Of a longer frame, only the end is still to be played.
        return np.concatenate((first[None, -size:], self._decoder.decode_many(frames[:-1])))

    def conceal(self) -> Pcm | None:
        """The held frame, else the codec's concealment."""
        if not self._begun:
            return np.zeros(self.frame_samples, dtype=np.int16)
        kept, self._kept = self._kept, None
        try:
            return self._decoder.conceal() if kept is None else self._decoder.decode_many([kept])[0]
        except MalformedFrame:
            return self._decoder.conceal()

    def comfort(self) -> Pcm | None:
        """Unused: PJMEDIA does not know pauses."""
        return None

    def recoverable(self, next_frame: int) -> int:
        """None, see `recover`."""
        return 0

    def recover(self, next_frame: int) -> Pcm | None:
        """Unused: FEC is applied when the next frame is played."""
        return None


def pjmedia_decoder(codec: Codec, decoder: FrameDecoder) -> FrameDecoder:
    """The decoder as PJMEDIA runs it: Opus through `HeldBack`, others unchanged."""
    kind = CODECS.find(codec.name)
    return HeldBack(decoder) if kind is not None and kind.held_back_by_pjmedia else decoder
