"""Speex narrowband, 2.15 to 24.6 kbit/s. Source: the Speex codec manual, RFC 5574."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from earwitness.looks import Look
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.kind import ESTIMATED, CodecKind, Impairment
from earwitness.speech.codecs.speex_codec import (
    OPTIONS,
    PTIMES,
    SUBMODE_BITS,
    Band,
    SpeexCodec,
    speex_of,
    speex_offered,
)

FRAME_SAMPLES = 160
_QUALITY_OF_SUBMODE = {1: 0, 8: 1, 2: 2, 3: 3, 4: 5, 5: 8, 6: 9, 7: 10}


def _frame_bits(stream: int, left: int) -> int:
    if left < 5:
        return 0
    size = SUBMODE_BITS.get(stream >> (left - 5) & 31, 0)
    return size if size <= left else 0


NARROWBAND = Band(
    mode=0,
    title="Speex",
    frame="narrowband",
    frame_samples=FRAME_SAMPLES,
    frame_bits=_frame_bits,
    most_bits=max(SUBMODE_BITS.values()),
    qualities={SUBMODE_BITS[submode]: quality for submode, quality in _QUALITY_OF_SUBMODE.items()},
)


@dataclass(frozen=True)
class Speex(SpeexCodec):
    """Speex at 8 kHz. Quality 5 gives the 28-byte frames (11 kbit/s) of the published study's phone."""

    band = NARROWBAND
    usual_quality = 5

    quality: int = usual_quality
    complexity: int = 2
    payload_type: int = 97
    name: str = "speex"
    clock_rate: int = 8000
    sample_rate: int = 8000
    frame_samples: int = FRAME_SAMPLES


_IMPAIRMENT = Impairment(12.6, 23.2, f"quality 5: {ESTIMATED}")
_SAME_FRAMES = (5, 6)
"""Qualities of the same submode."""


def _impairment(codec: Codec, _concealed: bool) -> Impairment | None:
    return _IMPAIRMENT if isinstance(codec, Speex) and codec.quality in _SAME_FRAMES else None


SPEEX = CodecKind(
    name="speex",
    summary="Speex narrowband, 11 kbit/s at quality 5",
    usage="speex[:QUALITY][,complexity=0-10]",
    make=partial(speex_of, Speex()),
    look=Look("Speex", "purple", "dotted", "diamond", "crosses"),
    options=OPTIONS,
    impairment=_impairment,
    offered=partial(speex_offered, Speex()),
    encoding_takes_ns=400_000,
    ptimes=PTIMES,
    has_own_concealment=True,
)
