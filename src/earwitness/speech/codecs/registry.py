"""Codecs by name: from a user's specification (`opus:24000,fec=1`), and from SDP or a payload type."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np

from earwitness import options
from earwitness.errors import InputError
from earwitness.options import Between, Option
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
_PTIME = Option("ptime", Between(0.001, 1000))


def codec(spec: str) -> Codec:
    """The codec for `spec`; raises `InputError` with the valid ones.

    `spec` is a name, then after a colon comma-separated `option=value`; the first may be a bare number (Opus: bit/s,
    Speex: quality). `opus:24000,fec=1,complexity=5,loss=10,rate=16000`. Every codec has the option `ptime`, see
    `at_ptime`.
    """
    kind = CODECS.get(options.split(spec)[0], _USING, spec)
    usage = f"{CODECS.remedy}; and ptime=MS with any of them"
    given = dict(options.parse(_USING, spec, (*kind.options, _PTIME), usage))
    packet_ms = given.pop(_PTIME.name, None)
    made = kind.make(given)
    return made if packet_ms is None else at_ptime(made, packet_ms)


def at_ptime(codec: Codec, ms: float) -> Codec:
    """The codec with packets of `ms` milliseconds; raises InputError with the packet times that it permits."""
    if ms == codec.packet_ms:
        return codec
    kind = kind_of(codec)
    if ms not in kind.ptimes:
        happened, remedy = f"{kind.name} has no packets of {ms:g} ms", f"use {_listed(kind.ptimes)} ms"
        raise InputError(_USING, repr(codec.spec), happened, remedy, field="ptime")
    changed: dict[str, Any] = {"packet_ms": int(ms) if ms == int(ms) else ms}
    if kind.grain:
        # 10 ms frames if they fit, else the longest that do.
        changed["frame_samples"] = gcd(round(codec.sample_rate * ms / 1000), codec.sample_rate // 100)
    remade: Codec = replace(codec, **changed)  # type: ignore[type-var]
    return remade


def _listed(ptimes: tuple[float, ...]) -> str:
    """Packet times in words."""
    whole = list(range(int(ptimes[0]), int(ptimes[-1]) + 1))
    if list(ptimes) == whole and len(whole) > 1:
        return f"a whole number from {whole[0]} to {whole[-1]}"
    return f"one of {', '.join(f'{one:g}' for one in ptimes)}" if len(ptimes) > 1 else f"{ptimes[0]:g}"


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
    return codec_offered(Offer(encoding_name, clock_rate, payload_type, sample_rate, fmtp, payload_bytes, channels))


def codec_offered(offer: Offer) -> Codec:
    """The codec of an offer, with the bit rate or quality that its payloads show; raises `InputError`."""
    listed = CODECS.listed()
    known: list[str] = []
    for kind, _ in listed.kinds:
        found = _of_kind(kind, offer)
        if found is not None:
            return found
        usual = kind.make({})
        known.append(f"{usual.encoding_name}/{usual.clock_rate}")
    raise InputError(
        "finding the codec of",
        f"rtpmap {offer.encoding_name or '-'}/{offer.clock_rate or '-'} payload type {offer.payload_type}",
        "not a codec that this program decodes" + "".join(f" (cannot be loaded: {one})" for one in listed.broken),
        f"known are {', '.join(dict.fromkeys(known))}; name the {{codec}}",
        related=("codec",),
    )


def codec_as_sent(spec: str, offer: Offer) -> Codec:
    """As `codec`; a bare name leaves open how its sender encoded, so then it is as the packets of `offer` show it."""
    named = codec(spec)
    if ":" in spec:
        return named
    # What SDP says of another codec counts for nothing.
    if offer.encoding_name.lower() != named.encoding_name.lower():
        offer = replace(offer, encoding_name=named.encoding_name, fmtp="", channels=None)
    return _of_kind(kind_of(named), replace(offer, clock_rate=named.clock_rate)) or named


def _of_kind(kind: CodecKind, offer: Offer) -> Codec | None:
    """The codec of an offer, if it is of this kind."""
    if kind.offered is not None:
        found = kind.offered(offer)
    else:
        usual = kind.make({})
        found = usual if offer.is_of(usual) else None
    if found is not None and found.channels == 1 and (offer.channels or 1) > 1:
        raise _interleaved(offer)
    return found


def _interleaved(offer: Offer) -> InputError:
    """Several channels of a codec that is mono here: as one channel their samples would be noise (RFC 3551 4.1)."""
    return InputError(
        "decoding",
        f"{offer.encoding_name}/{offer.clock_rate or '-'}/{offer.channels}",
        f"it has {offer.channels} channels, and is decoded as mono",
        "capture a call of one channel",
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
