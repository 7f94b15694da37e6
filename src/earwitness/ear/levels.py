"""Which frames have speech in them."""

from __future__ import annotations

import numpy as np

from earwitness.ear.frames import Frames
from earwitness.ear.payload import FrameBytes
from earwitness.speech.codecs.base import Codec, MalformedFrame

_BELOW_LOUDEST = 0.02
"""-34 dB: a frame this far below the loudest one before it is a pause, not speech."""
_SILENCE_RMS = 32.0
"""-60 dBov: nothing is said so softly."""


def quiet_frames(frames: Frames, codec: Codec, frame_bytes: FrameBytes) -> list[bool]:
    """For each frame whether it is quiet, judged by it and the frames before it.

    The frames are decoded in the order of their timestamps, as a phone does that decodes what arrives.
    """
    order = np.argsort(frames.timestamp, kind="stable")
    decoder = codec.decoder()
    try:
        sound = decoder.decode_many([frame_bytes(index) for index in order.tolist()]).astype(np.float32)
    except MalformedFrame:
        # Where a frame cannot be decoded, nothing is known, and nothing is taken for a pause.
        return [False] * len(frames)
    rms = np.sqrt(np.mean(sound * sound, axis=1)) if len(sound) else np.zeros(0, dtype=np.float32)
    loudest = np.maximum.accumulate(rms) if len(rms) else rms
    quiet = np.zeros(len(frames), dtype=np.bool_)
    quiet[order] = rms < np.maximum(_BELOW_LOUDEST * loudest, _SILENCE_RMS)
    return [bool(value) for value in quiet]
