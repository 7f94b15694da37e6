"""Speex wideband, 3.95 to 42.2 kbit/s. Source: the Speex codec manual, RFC 5574.

A frame is a narrowband frame of the low band, followed by the high band's layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from earwitness.looks import Look
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.speex_codec import (
    OPTIONS,
    PTIMES,
    SUBMODE_BITS,
    Band,
    SpeexCodec,
    speex_of,
    speex_offered,
)

FRAME_SAMPLES = 320
HIGH_BAND_BITS = {0: 4, 1: 36, 2: 112, 3: 192, 4: 352}
"""Bits in the high band's layer by submode, with the four that announce it (Speex manual, table 10.1)."""
_SUBMODES = ((1, 1), (8, 1), (2, 1), (3, 1), (4, 1), (5, 1), (5, 2), (6, 2), (6, 3), (7, 3), (7, 4))
"""Of the low and the high band, by quality."""


def _frame_bits(stream: int, left: int) -> int:
    def bits(at: int, count: int) -> int:
        return stream >> (left - at - count) & ((1 << count) - 1) if at + count <= left else -1

    low = SUBMODE_BITS.get(bits(0, 5), 0)
    layer = bits(low, 4)
    # The layer begins with a 1 and its submode; without it, the frame is narrowband.
    high = HIGH_BAND_BITS.get(layer & 7, 0) if layer >= 8 else 0
    return low + high if low and high and low + high <= left else 0


WIDEBAND = Band(
    mode=1,
    title="Speex wideband",
    frame="wideband",
    frame_samples=FRAME_SAMPLES,
    frame_bits=_frame_bits,
    most_bits=max(SUBMODE_BITS.values()) + max(HIGH_BAND_BITS.values()),
    qualities={SUBMODE_BITS[low] + HIGH_BAND_BITS[high]: quality for quality, (low, high) in enumerate(_SUBMODES)},
)


@dataclass(frozen=True)
class SpeexWideband(SpeexCodec):
    """Speex at 16 kHz. Quality 8 gives 27.8 kbit/s."""

    band = WIDEBAND
    usual_quality = 8

    quality: int = usual_quality
    complexity: int = 2
    payload_type: int = 98
    name: str = "speex-wb"
    clock_rate: int = 16000
    sample_rate: int = 16000
    frame_samples: int = FRAME_SAMPLES


def _offered(offer: Offer) -> SpeexWideband | None:
    # A name without a clock is the narrowband codec's.
    return None if offer.clock_rate is None else speex_offered(SpeexWideband(), offer)


SPEEX_WIDEBAND = CodecKind(
    name="speex-wb",
    summary="Speex wideband, 27.8 kbit/s at quality 8",
    usage="speex-wb[:QUALITY][,complexity=0-10]",
    make=partial(speex_of, SpeexWideband()),
    look=Look("Speex wideband", "sky", "dashed", "diamond", "grid"),
    options=OPTIONS,
    offered=_offered,
    encoding_takes_ns=800_000,
    has_own_concealment=True,
    ptimes=PTIMES,
)
