"""Codecs by name: from a user's specification (`opus:24000,fec=1`), and from SDP or a payload type."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from earwitness import options
from earwitness.errors import InputError
from earwitness.plugins import Registry
from earwitness.speech.codecs.amr import AMR_KIND
from earwitness.speech.codecs.amr_wb import AMR_WB_KIND
from earwitness.speech.codecs.base import Codec, encode_packets, packet_samples
from earwitness.speech.codecs.codec2 import CODEC2_KIND
from earwitness.speech.codecs.g711 import A_LAW, MU_LAW
from earwitness.speech.codecs.g722 import G722_KIND
from earwitness.speech.codecs.g726 import G726_KIND
from earwitness.speech.codecs.g729 import G729_KIND
from earwitness.speech.codecs.gsm import GSM
from earwitness.speech.codecs.ilbc import ILBC_KIND
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.l16 import L16_KIND
from earwitness.speech.codecs.opus import OPUS
from earwitness.speech.codecs.speex import SPEEX
from earwitness.speech.codecs.speex_wideband import SPEEX_WIDEBAND

_BUILT_IN = (
    *(MU_LAW, A_LAW, GSM, SPEEX, OPUS),
    *(G722_KIND, G726_KIND, G729_KIND, ILBC_KIND, AMR_KIND, AMR_WB_KIND, L16_KIND, SPEEX_WIDEBAND, CODEC2_KIND),
)
CODECS = Registry("codec", "earwitness.codecs", CodecKind, _BUILT_IN)
"""All codecs; other packages add theirs through entry points of this group."""
CODEC_NAMES = tuple(kind.name for kind in CODECS.built_in)
"""The built-in ones."""

_USING = "using the codec"


def codec(spec: str) -> Codec:
    """The codec for `spec`; raises `InputError` with the valid ones.

    `spec` is a name, then after a colon comma-separated `option=value`; the first may be a bare number (Opus: bit/s,
    Speex: quality). `opus:24000,fec=1,complexity=5,loss=10,rate=16000`.
    """
    kind = CODECS.get(options.split(spec)[0], _USING, spec)
    return kind.make(options.parse(_USING, spec, kind.options, CODECS.remedy))


def kind_of(codec: Codec) -> CodecKind:
    """The registration record of a codec."""
    return CODECS.get(codec.name, _USING)


def codec_from_rtpmap(
    encoding_name: str,
    clock_rate: int | None = None,
    payload_type: int | None = None,
    *,
    sample_rate: int | None = None,
    fmtp: str = "",
    payload_bytes: int | None = None,
    channels: int | None = None,
) -> Codec:
    """The codec of an SDP `rtpmap` (names are case-insensitive, RFC 8866 6.6); raises `InputError`.

    With an empty `encoding_name`, static payload types are recognised (including 0, 3 and 8 of RFC 3551 table 4). A
    codec with a dynamic payload type keeps `payload_type`. `sample_rate` is the rate to decode Opus at (default 8,000).
    `fmtp` and `payload_bytes`, the usual size of a payload, tell the mode of iLBC and Codec2 and the packing of AMR;
    `channels` as in the `rtpmap`.
    """
    offer = Offer(encoding_name, clock_rate, payload_type, sample_rate, fmtp, payload_bytes, channels)
    listed = CODECS.listed()
    known: list[str] = []
    for kind, _ in listed.kinds:
        usual = kind.make({})
        found = kind.offered(offer) if kind.offered is not None else usual if offer.is_of(usual) else None
        if found is not None:
            return found
        known.append(f"{usual.encoding_name}/{usual.clock_rate}")
    raise InputError(
        "finding the codec of",
        f"rtpmap {encoding_name or '-'}/{clock_rate or '-'} payload type {payload_type}",
        "not a codec that this program decodes" + "".join(f" (cannot be loaded: {one})" for one in listed.broken),
        f"known are {', '.join(dict.fromkeys(known))}; name the {codec}",
        related=("codec",),
    )


@lru_cache(maxsize=64)
def payload_bytes(spec: str) -> tuple[Codec, int]:
    """The codec for `spec`, and the size in bytes of its largest RTP payload (the mean one, if it varies)."""
    made = codec(spec)
    most = kind_of(made).most_payload
    if most is not None:
        return made, most(made)
    return made, len(encode_packets(made, np.zeros(packet_samples(made), dtype=np.int16))[0])
