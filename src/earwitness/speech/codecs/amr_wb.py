"""AMR-WB (G.722.2), 6.6 to 23.85 kbit/s, by libopencore-amrwb and libvo-amrwbenc. Source: 3GPP TS 26.171, RFC 4867."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.speech.codecs.amr_codec import PTIMES, AmrCodec, made, offered, options_of
from earwitness.speech.codecs.amr_payload import NO_DATA, FrameTypes
from earwitness.speech.codecs.base import Decoder, Encoder
from earwitness.speech.codecs.framewise import FramewiseDecoder
from earwitness.speech.codecs.kind import CodecKind
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

FRAME_SAMPLES = 320
MODES = (6.6, 8.85, 12.65, 14.25, 15.85, 18.25, 19.85, 23.05, 23.85)
"""Bit rates in kbit/s, by frame type."""
SID, SPEECH_LOST = 9, 14
"""The frame types of a silence descriptor, and of a frame that a network has lost."""
FRAMES = FrameTypes(
    "AMR-WB",
    dict(enumerate((132, 177, 253, 285, 317, 365, 397, 461, 477, 40))) | {SPEECH_LOST: 0, NO_DATA: 0},
)
_MORE_NOISE = bytes((NO_DATA << 3,))


@lru_cache(maxsize=1)
def _decoders() -> ctypes.CDLL:
    library = load("libopencore-amrwb.so.0", "apt-get install libopencore-amrwb0")
    pointer = ctypes.c_void_p
    declare(library, "D_IF_init", pointer)
    declare(library, "D_IF_exit", None, pointer)
    declare(library, "D_IF_decode", None, pointer, ctypes.c_char_p, pointer, ctypes.c_int)
    return library


@lru_cache(maxsize=1)
def _encoders() -> ctypes.CDLL:
    library = load("libvo-amrwbenc.so.0", "apt-get install libvo-amrwbenc0")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    declare(library, "E_IF_init", pointer)
    declare(library, "E_IF_exit", None, pointer)
    declare(library, "E_IF_encode", number, pointer, number, pointer, ctypes.c_char_p, number)
    return library


class _AmrWbEncoder:
    """One encoder, freed with this object; DTX is off."""

    def __init__(self, codec: AmrWb) -> None:
        self._library, self._codec = _encoders(), codec
        self._state = owned(self, self._library.E_IF_init(), self._library.E_IF_exit)

    def encode(self, frame: Pcm) -> bytes:
        samples, mode = checked_frame(frame, FRAME_SAMPLES, "AMR-WB"), self._codec.mode
        out = ctypes.create_string_buffer(FRAMES.frame_bytes(mode))
        self._library.E_IF_encode(self._state, mode, samples.ctypes.data, out, 0)
        return out.raw


class _AmrWbDecoder(FramewiseDecoder):
    """One decoder, freed with this object.

    The library has no concealment to speak of: a frame after a lost one is 50 dB down, and speech with losses scores
    below that with silence in the gaps. So speech that is missing is left to others, and only pauses go on here.
    """

    def __init__(self) -> None:
        super().__init__("AMR-WB", FRAME_SAMPLES)
        self._library = _decoders()
        self._state = owned(self, self._library.D_IF_init(), self._library.D_IF_exit)

    def _into(self, frame: bytes, address: int) -> str:
        if problem := FRAMES.problem(frame):
            return problem
        kind = frame[0] >> 3 & 15
        if kind == SPEECH_LOST or (kind == NO_DATA and not self._pausing):
            return "it holds no speech, and there is no pause"
        self._pausing = kind in (SID, NO_DATA)
        self._library.D_IF_decode(self._state, frame, address, 0)
        return ""

    def conceal(self) -> Pcm | None:
        """More comfort noise after a silence descriptor; otherwise None."""
        if not self._pausing:
            return None
        out = np.empty(FRAME_SAMPLES, dtype=np.int16)
        self._library.D_IF_decode(self._state, _MORE_NOISE, out.ctypes.data, 0)
        return out


@dataclass(frozen=True)
class AmrWb(AmrCodec):
    """AMR-WB at 16 kHz."""

    frame_types = FRAMES
    modes = MODES
    usual_kbps = 12.65

    kbps: float = usual_kbps
    payload_type: int = 103
    name: str = "amr-wb"
    encoding_name: str = "AMR-WB"
    clock_rate: int = 16000
    sample_rate: int = 16000
    frame_samples: int = FRAME_SAMPLES
    lookahead_samples: int = 94

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _AmrWbEncoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _AmrWbDecoder()


AMR_WB_KIND = CodecKind(
    name="amr-wb",
    summary="AMR-WB (G.722.2), 12.65 kbit/s, or the rate given; octet=1: sends octet-aligned",
    usage="amr-wb[:6.6-23.85][,octet=0|1]",
    make=partial(made, AmrWb()),
    look=Look("AMR-WB", "blue", "dotted", "circle", "slashes"),
    options=options_of(AmrWb()),
    offered=partial(offered, AmrWb()),
    encoding_takes_ns=2_000_000,
    ptimes=PTIMES,
)
