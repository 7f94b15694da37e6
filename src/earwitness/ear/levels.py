"""Determines which frames contain speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earwitness.ear.decoding import StreamDecoder
from earwitness.ear.frames import Frames
from earwitness.ear.payload import FrameBytes
from earwitness.speech.codecs.base import MalformedFrame

_BELOW_LOUDEST = 0.02
"""-34 dB: a frame this far below the loudest earlier one is a pause, not speech."""
_SILENCE_RMS = 32.0
"""-60 dBov: no speech is this quiet."""
_BLOCK = 1 << 14
"""Frames whose audio is in memory at once."""


def quiet_frames(frames: Frames, frame_bytes: FrameBytes) -> list[bool]:
    """For each frame, whether it is quiet, judged from it and the frames before it.

    Frames are decoded in the order of their timestamps, as a phone decodes arriving packets.
    """
    order = np.argsort(frames.timestamp, kind="stable")
    decoder = StreamDecoder(frames, frame_bytes)
    blocks: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)]
    try:
        for at in range(0, len(order), _BLOCK):
            sound = decoder.decode_many(order[at : at + _BLOCK].tolist()).astype(np.float32)
            blocks.append(np.sqrt(np.mean(sound * sound, axis=1)))
    except MalformedFrame:
        # If a frame cannot be decoded, treat nothing as a pause.
        return [False] * len(frames)
    rms = np.concatenate(blocks)
    loudest = np.maximum.accumulate(rms) if len(rms) else rms
    quiet = np.zeros(len(frames), dtype=np.bool_)
    quiet[order] = rms < np.maximum(_BELOW_LOUDEST * loudest, _SILENCE_RMS)
    return [bool(value) for value in quiet]
