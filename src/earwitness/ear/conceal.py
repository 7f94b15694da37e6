"""Concealment: what is played where a frame is missing.

`silence`  nothing;
`repeat`   the last frame again, fading to nothing in 60 ms;
`wsola`    the last sound drawn out by waveform similarity, fading to nothing in 80 ms;
`codec`    the codec's own (Speex, Opus), else as `wsola`;
`pjmedia`  as PJMEDIA conceals (`earwitness.ear.pjmedia_ear`): WSOLA 5 ms late for G.711 and GSM, else the codec's own;
`fec`      the copy in the packet after it where there is one and it is here in time (Opus), else as `codec`.

Frames that are there are played untouched, except for the first milliseconds after a gap, which are cross-faded.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.pjmedia_ear import PjmediaConcealment
from earwitness.ear.wsola import Extension
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec, Decoder

CONCEALMENTS = ("silence", "repeat", "wsola", "codec", "fec", "pjmedia")
"""Names that `concealer` knows."""


class Concealer(Protocol):
    """Joins good frames and gaps into one sound. Mutable, for one stream."""

    delay: int
    """Samples by which good frames come out later than they go in."""

    def good(self, samples: Pcm) -> Pcm:
        """One or more whole frames that are there; returns as many samples to play."""
        ...

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """`count` missing frames in a row; `next_frame` is the one after the gap where it is already here."""
        ...

    def pause(self, count: int) -> Pcm:
        """`count` frames in which the speaker is silent."""
        ...


def concealer(name: str, codec: Codec, decoder: Decoder) -> Concealer:
    """The concealment of that name for a codec, using the stream's own decoder. Raises InputError."""
    frame, rate = codec.frame_samples, codec.sample_rate
    if name == "silence":
        return Silence(frame)
    if name == "repeat":
        return Repeat(frame, rate)
    if name == "wsola":
        return DrawnOut(frame, rate)
    if name == "pjmedia":
        return PjmediaConcealment(codec, decoder)
    if name in ("codec", "fec"):
        return CodecsOwn(frame, rate, decoder, fec=name == "fec")
    raise InputError("concealing with", name, "unknown concealment", f"use one of {', '.join(CONCEALMENTS)}")


class Silence:
    """Nothing is played where a frame is missing."""

    delay = 0

    def __init__(self, frame: int) -> None:
        self._frame = frame

    def good(self, samples: Pcm) -> Pcm:
        """The frames as they are."""
        return samples

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """Zeros."""
        return np.zeros(count * self._frame, dtype=np.int16)

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        return np.zeros(count * self._frame, dtype=np.int16)


class Repeat:
    """The last frame is played again, fading linearly to nothing in 60 ms."""

    delay = 0
    _fade_ms = 60

    def __init__(self, frame: int, sample_rate: int) -> None:
        self._frame = frame
        self._fade = self._fade_ms * sample_rate // 1000
        self._last: Pcm = np.zeros(frame, dtype=np.int16)
        self._faded = 0

    def good(self, samples: Pcm) -> Pcm:
        """The frames as they are."""
        self._last, self._faded = samples[-self._frame :], 0
        return samples

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """The last frame, fading on."""
        out = np.zeros(count * self._frame, dtype=np.int16)
        heard = min(count, -(-max(0, self._fade - self._faded) // self._frame))
        length = heard * self._frame
        gain = 1.0 - (self._faded + np.arange(length)) / self._fade
        self._faded += len(out)
        out[:length] = (np.tile(self._last, heard) * np.maximum(gain, 0.0)).astype(np.int16)
        return out

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        self._faded = self._fade
        return np.zeros(count * self._frame, dtype=np.int16)


class DrawnOut:
    """The last sound is drawn out by `Extension`, without holding anything back.

    `Extension` plays one cross-fade later than it hears, so it is run that much ahead here: it is only asked at a gap,
    starting from the sound before it, and what it would have held back has been played already.
    """

    delay = 0

    def __init__(self, frame: int, sample_rate: int) -> None:
        self._frame = frame
        self._rate = sample_rate
        self._recent: Pcm = np.zeros(0, dtype=np.int16)
        self._extension: Extension | None = None
        self._ahead: Pcm = np.zeros(0, dtype=np.int16)

    def good(self, samples: Pcm) -> Pcm:
        """The frames as they are, cross-faded with the end of the extension after a gap."""
        if self._extension is not None:
            overlap = self._extension.overlap
            tail = self._ahead[:overlap]
            rising = np.arange(len(tail)) / overlap
            samples = samples.copy()
            samples[: len(tail)] = tail * (1.0 - rising) + samples[: len(tail)] * rising
            self._extension = None
        keep = -(-self._rate // (25 * self._frame)) * self._frame
        self._recent = samples[-keep:] if len(samples) >= keep else np.concatenate((self._recent, samples))[-keep:]
        return samples

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """The sound drawn out, fading on."""
        length = count * self._frame
        if self._extension is None:
            pitch = self._rate // 400, self._rate // 66
            self._extension = Extension(self._frame, self._rate, history=2 * pitch[1], nearest=pitch[0], by_shape=True)
            recent = self._recent
            pad = -len(recent) % self._frame
            self._extension.good(np.concatenate((np.zeros(pad, dtype=np.int16), recent)))
            # The first cross-fade of the extension lies over sound that has been played; the step that this
            # leaves at the join is spread over as long again.
            overlap = self._extension.overlap
            made = self._extension.missing(1)
            self._ahead = made[overlap:].copy()
            step = (int(recent[-1]) if len(recent) else 0) - int(made[overlap - 1])
            slope = step * (1.0 - np.arange(1, overlap + 1) / overlap)
            head = self._ahead[:overlap]
            head[:] = np.clip(head + slope[: len(head)], -32768, 32767)
        extra = max(0, length + self._extension.overlap - len(self._ahead))
        if extra:
            frames = -(-extra // self._frame)
            sounding = min(frames, self._extension.frames_to_silence)
            drawn = [self._extension.missing(sounding)] if sounding else []
            # Once it has faded, silence comes out whatever it would be drawn out of.
            silence = np.zeros((frames - sounding) * self._frame, dtype=np.int16)
            self._ahead = np.concatenate((self._ahead, *drawn, silence))
        out, self._ahead = self._ahead[:length], self._ahead[length:]
        return out

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        self._extension = None
        self._recent = np.zeros(0, dtype=np.int16)
        return np.zeros(count * self._frame, dtype=np.int16)


class CodecsOwn:
    """The decoder makes up what is missing from its own state, or finds it in the next packet's in-band FEC."""

    delay = 0
    _longest_ms = 240

    def __init__(self, frame: int, sample_rate: int, decoder: Decoder, *, fec: bool) -> None:
        self._frame = frame
        self._most = self._longest_ms * sample_rate // (1000 * frame)
        self._decoder = decoder
        self._fec = fec
        self._drawn_out = DrawnOut(frame, sample_rate)
        self._gap = 0

    def good(self, samples: Pcm) -> Pcm:
        """The frames as they are."""
        self._gap = 0
        return self._drawn_out.good(samples)

    def missing(self, count: int, next_frame: bytes | None) -> Pcm:
        """Up to 240 ms from the codec, then silence; the frame before `next_frame` from its FEC."""
        pieces: list[Pcm] = []
        for index in range(count):
            self._gap += 1
            made: Pcm | None = None
            if self._fec and next_frame is not None and index == count - 1:
                made = self._decoder.recover(next_frame)
            if made is None:
                made = self._decoder.conceal()
                if made is None:
                    return np.concatenate([*pieces, self._drawn_out.missing(count - index, None)])
                if self._gap > self._most:
                    made = np.zeros(self._frame, dtype=np.int16)
            pieces.append(made)
        return np.concatenate(pieces)

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        self._gap = self._most
        self._drawn_out.pause(0)
        return np.zeros(count * self._frame, dtype=np.int16)
