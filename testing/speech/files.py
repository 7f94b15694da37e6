"""Sound files in formats that libsndfile does not write: by FFmpeg, or byte by byte."""

from __future__ import annotations

import io
from functools import cache

import av
import numpy as np

from earwitness.arrays import Pcm
from earwitness.speech.reference import speech

FORMATS = {
    "m4a": ("mp4", "aac", 16000),
    "aac": ("adts", "aac", 16000),
    "webm": ("webm", "libopus", 48000),
    "3gp": ("3gp", "libopencore_amrnb", 8000),
    "amr": ("amr", "libopencore_amrnb", 8000),
    "g722": ("g722", "g722", 16000),
    "g726.wav": ("wav", "g726", 8000),
    "wma": ("asf", "wmav2", 16000),
}
"""By file extension: FFmpeg's container and codec, and the rate, Hz."""


def encoded(samples: Pcm, rate: int, kind: str) -> bytes:
    """A file of this kind with (n,) or (n, channels) int16 in it."""
    container, codec, at = FORMATS[kind]
    rows = np.atleast_2d(samples.T)
    layout = "mono" if len(rows) == 1 else "stereo"
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=at)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = layout
        stream.codec_context.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows.T).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        converter = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=at)
        for part in [*converter.resample(frame), *converter.resample(None), None]:
            output.mux(stream.encode(part))
    return file.getvalue()


@cache
def spoken(kind: str) -> bytes:
    """Three seconds of speech in a file of this kind."""
    said = speech("allison-10s", 16000).samples[16000:64000]
    return encoded(said, 16000, kind)
