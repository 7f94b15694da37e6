"""AMR narrowband, 4.75 to 12.2 kbit/s, by libopencore-amrnb. Source: 3GPP TS 26.071, RFC 4867."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.speech.codecs.amr_codec import PTIMES, AmrCodec, made, offered, options_of
from earwitness.speech.codecs.amr_payload import NO_DATA, FrameTypes
from earwitness.speech.codecs.base import Codec, Decoder, Encoder
from earwitness.speech.codecs.framewise import FramewiseDecoder
from earwitness.speech.codecs.kind import CodecKind, Impairment
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

FRAME_SAMPLES = 160
MODES = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)
"""Bit rates in kbit/s, by frame type."""
SID = 8
"""The frame type of a silence descriptor."""
FRAMES = FrameTypes("AMR", dict(enumerate((95, 103, 118, 134, 148, 159, 204, 244, 39))) | {NO_DATA: 0})
_LOST = bytes((NO_DATA << 3,))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load("libopencore-amrnb.so.0", "apt-get install libopencore-amrnb0")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    declare(library, "Encoder_Interface_init", pointer, number)
    declare(library, "Encoder_Interface_exit", None, pointer)
    declare(library, "Encoder_Interface_Encode", number, pointer, number, pointer, ctypes.c_char_p, number)
    declare(library, "Decoder_Interface_init", pointer)
    declare(library, "Decoder_Interface_exit", None, pointer)
    declare(library, "Decoder_Interface_Decode", None, pointer, ctypes.c_char_p, pointer, number)
    return library


class _AmrEncoder:
    """One encoder, freed with this object; DTX is off."""

    def __init__(self, codec: Amr) -> None:
        self._library, self._codec = _library(), codec
        self._state = owned(self, self._library.Encoder_Interface_init(0), self._library.Encoder_Interface_exit)

    def encode(self, frame: Pcm) -> bytes:
        samples, mode = checked_frame(frame, FRAME_SAMPLES, "AMR"), self._codec.mode
        out = ctypes.create_string_buffer(FRAMES.frame_bytes(mode))
        self._library.Encoder_Interface_Encode(self._state, mode, samples.ctypes.data, out, 0)
        return out.raw


class _AmrDecoder(FramewiseDecoder):
    """One decoder, freed with this object."""

    def __init__(self) -> None:
        super().__init__("AMR", FRAME_SAMPLES)
        self._library = _library()
        self._state = owned(self, self._library.Decoder_Interface_init(), self._library.Decoder_Interface_exit)

    def _into(self, frame: bytes, address: int) -> str:
        if problem := FRAMES.problem(frame):
            return problem
        kind = frame[0] >> 3 & 15
        self._pausing = kind == SID or (kind == NO_DATA and self._pausing)
        self._library.Decoder_Interface_Decode(self._state, frame, address, 0)
        return ""

    def conceal(self) -> Pcm | None:
        """TS 26.091's substitution of lost frames; after a silence descriptor, more of its comfort noise."""
        out = np.empty(FRAME_SAMPLES, dtype=np.int16)
        self._library.Decoder_Interface_Decode(self._state, _LOST, out.ctypes.data, 0)
        return out


@dataclass(frozen=True)
class Amr(AmrCodec):
    """AMR at 8 kHz."""

    frame_types = FRAMES
    modes = MODES
    usual_kbps = 12.2

    kbps: float = usual_kbps
    payload_type: int = 102
    name: str = "amr"
    encoding_name: str = "AMR"
    clock_rate: int = 8000
    sample_rate: int = 8000
    frame_samples: int = FRAME_SAMPLES
    lookahead_samples: int = 40

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _AmrEncoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _AmrDecoder()


_ENHANCED_FULL_RATE = Impairment(5.0, 10.0, "ITU-T G.113 Appendix I: GSM-EFR, which is AMR's mode of 12.2 kbit/s")


def _impairment(codec: Codec, _concealed: bool) -> Impairment | None:
    return _ENHANCED_FULL_RATE if isinstance(codec, Amr) and codec.kbps == 12.2 else None


AMR_KIND = CodecKind(
    name="amr",
    summary="AMR, 12.2 kbit/s, or the rate given; octet=1: sends octet-aligned",
    usage="amr[:4.75-12.2][,octet=0|1]",
    make=partial(made, Amr()),
    look=Look("AMR", "grey", "dashed", "circle", "bars"),
    options=options_of(Amr()),
    impairment=_impairment,
    offered=partial(offered, Amr()),
    encoding_takes_ns=1_000_000,
    has_own_concealment=True,
    ptimes=PTIMES,
)
