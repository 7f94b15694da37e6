"""Concealment: what is played when a frame is missing.

`silence`  silence;
`repeat`   the last frame repeated, fading to silence within 60 ms;
`wsola`    the last audio prolonged by waveform similarity, fading to silence within 80 ms;
`codec`    the codec's own concealment (Speex, Opus), otherwise as `wsola`;
`pjmedia`  PJMEDIA's concealment (`earwitness.ear.pjmedia_ear`): WSOLA 5 ms late for G.711 and GSM, else the codec's
own; `fec`      the in-band copy in the next packet if it exists and arrives in time (Opus), otherwise as `codec`.

Received frames are played unchanged, except that the first milliseconds after a gap are cross-faded.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.decoding import FrameDecoder
from earwitness.ear.pjmedia_ear import PjmediaConcealment
from earwitness.ear.wsola import Extension
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec

CONCEALMENTS = ("silence", "repeat", "wsola", "codec", "fec", "pjmedia")
"""Names accepted by `concealer`."""


class Concealer(Protocol):
    """Joins good frames and gaps into continuous audio. Mutable, one per stream."""

    delay: int
    """Delay of good frames from input to output, samples."""

    def good(self, samples: Pcm) -> Pcm:
        """Feed one or more complete frames; returns as many samples to play."""
        ...

    def missing(self, count: int, next_frame: int | None) -> Pcm:
        """`count` consecutive missing frames; `next_frame` is the one after the gap if it has already arrived."""
        ...

    def pause(self, count: int) -> Pcm:
        """`count` frame lengths in which the speaker is silent."""
        ...


def concealer(name: str, codec: Codec, decoder: FrameDecoder) -> Concealer:
    """The named concealment for a stream's main codec, using its own decoder. Raises InputError."""
    frame, rate = decoder.frame_samples, decoder.sample_rate
    if name == "silence":
        return Silence(frame)
    if name == "repeat":
        return Repeat(frame, rate)
    if name == "wsola":
        return Prolong(frame, rate)
    if name == "pjmedia":
        return PjmediaConcealment(codec, decoder)
    if name in ("codec", "fec"):
        return CodecConcealment(frame, rate, decoder, fec=name == "fec")
    raise InputError("concealing with", name, "unknown concealment", f"use one of {', '.join(CONCEALMENTS)}")


class Silence:
    """Plays silence when a frame is missing."""

    delay = 0

    def __init__(self, frame: int) -> None:
        self._frame = frame

    def good(self, samples: Pcm) -> Pcm:
        """The frames unchanged."""
        return samples

    def missing(self, count: int, next_frame: int | None) -> Pcm:
        """Zeros."""
        return np.zeros(count * self._frame, dtype=np.int16)

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        return np.zeros(count * self._frame, dtype=np.int16)


class Repeat:
    """Repeats the last frame, or the last 10 ms if that is longer, fading linearly to silence within 60 ms."""

    delay = 0
    _fade_ms = 60
    _least_ms = 10

    def __init__(self, frame: int, sample_rate: int) -> None:
        self._frame = frame
        self._fade = self._fade_ms * sample_rate // 1000
        self._repeated = max(frame, self._least_ms * sample_rate // 1000)
        self._last: Pcm = np.zeros(self._repeated, dtype=np.int16)
        self._faded = self._at = 0

    def good(self, samples: Pcm) -> Pcm:
        """The frames unchanged."""
        self._last = np.concatenate((self._last, samples[-self._repeated :]))[-self._repeated :]
        self._faded = self._at = 0
        return samples

    def missing(self, count: int, next_frame: int | None) -> Pcm:
        """The last frame, fading further."""
        out = np.zeros(count * self._frame, dtype=np.int16)
        audible = min(count, -(-max(0, self._fade - self._faded) // self._frame))
        length = audible * self._frame
        gain = 1.0 - (self._faded + np.arange(length)) / self._fade
        self._faded += len(out)
        again = self._last[(self._at + np.arange(length)) % self._repeated]
        self._at = (self._at + length) % self._repeated
        out[:length] = (again * np.maximum(gain, 0.0)).astype(np.int16)
        return out

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        self._faded = self._fade
        return np.zeros(count * self._frame, dtype=np.int16)


class Prolong:
    """Prolongs the last audio with `Extension`, without delaying good frames.

    `Extension` outputs one cross-fade later than its input. Here it is started only at a gap, with the audio before the
    gap, and advanced by that delay, because the audio it would hold back has already been played.
    """

    delay = 0

    def __init__(self, frame: int, sample_rate: int) -> None:
        self._frame = frame
        self._rate = sample_rate
        self._recent: Pcm = np.zeros(0, dtype=np.int16)
        self._extension: Extension | None = None
        self._ahead: Pcm = np.zeros(0, dtype=np.int16)

    def good(self, samples: Pcm) -> Pcm:
        """The frames unchanged, but cross-faded with the end of the extension after a gap."""
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

    def missing(self, count: int, next_frame: int | None) -> Pcm:
        """The prolonged audio, fading further."""
        length = count * self._frame
        if self._extension is None:
            pitch = self._rate // 400, self._rate // 66
            self._extension = Extension(self._frame, self._rate, history=2 * pitch[1], nearest=pitch[0], by_shape=True)
            recent = self._recent
            pad = -len(recent) % self._frame
            self._extension.good(np.concatenate((np.zeros(pad, dtype=np.int16), recent)))
            # The extension's first cross-fade covers audio already played; the resulting step at the join is spread
            # over another overlap.
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
            prolonged = [self._extension.missing(sounding)] if sounding else []
            # Once faded, the output is silence, whatever it is made from.
            silence = np.zeros((frames - sounding) * self._frame, dtype=np.int16)
            self._ahead = np.concatenate((self._ahead, *prolonged, silence))
        out, self._ahead = self._ahead[:length], self._ahead[length:]
        return out

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        self._extension = None
        self._recent = np.zeros(0, dtype=np.int16)
        return np.zeros(count * self._frame, dtype=np.int16)


class CodecConcealment:
    """The decoder conceals from its own state, or recovers the frames from the next packet's in-band FEC."""

    delay = 0
    _longest_ms = 240

    def __init__(self, frame: int, sample_rate: int, decoder: FrameDecoder, *, fec: bool) -> None:
        self._frame = frame
        self._most = self._longest_ms * sample_rate // (1000 * frame)
        self._decoder = decoder
        self._fec = fec
        self._prolong = Prolong(frame, sample_rate)
        self._gap = 0

    def good(self, samples: Pcm) -> Pcm:
        """The frames unchanged."""
        self._gap = 0
        return self._prolong.good(samples)

    def missing(self, count: int, next_frame: int | None) -> Pcm:
        """Up to 240 ms from the codec, then silence; the frames before `next_frame` are recovered from its FEC."""
        known = self._known_before(next_frame, count)
        pieces: list[Pcm] = []
        for index in range(count):
            self._gap += 1
            if index == count - known:
                recovered = self._decoder.recover(next_frame) if next_frame is not None else None
                if recovered is not None and len(recovered) >= known * self._frame:
                    self._gap += known - 1
                    return np.concatenate([*pieces, recovered[len(recovered) - known * self._frame :]])
            made = self._decoder.conceal()
            if made is None:
                return np.concatenate([*pieces, self._prolong.missing(count - index, None)])
            if self._gap > self._most:
                made = np.zeros(self._frame, dtype=np.int16)
            pieces.append(made)
        return np.concatenate(pieces)

    def _known_before(self, next_frame: int | None, count: int) -> int:
        """How many of `count` missing frames the next one's FEC covers."""
        if not self._fec or next_frame is None:
            return 0
        return min(count, self._decoder.recoverable(next_frame))

    def pause(self, count: int) -> Pcm:
        """Zeros."""
        self._gap = self._most
        self._prolong.pause(0)
        return np.zeros(count * self._frame, dtype=np.int16)
