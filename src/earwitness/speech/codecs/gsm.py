"""GSM 06.10 full rate (13 kbit/s), by libgsm. Source: ETSI EN 300 961, RFC 3551 4.5.8."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.speech.codecs.base import Decoder, Encoder
from earwitness.speech.codecs.framewise import FramewiseDecoder, cut, packet_times, specification
from earwitness.speech.codecs.kind import ESTIMATED, CodecKind, Impairment
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

FRAME_SAMPLES = 160
FRAME_BYTES = 33
"""33 octets: a 4-bit signature 0xD and 260 bits of parameters."""
PTIMES = packet_times(20, 120, 20)
"""Whole frames (RFC 3551 4.2)."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load("libgsm.so.1", "apt-get install libgsm1")
    declare(library, "gsm_create", ctypes.c_void_p)
    declare(library, "gsm_destroy", None, ctypes.c_void_p)
    declare(library, "gsm_encode", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    declare(library, "gsm_decode", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return library


class _GsmEncoder:
    """One libgsm encoder, freed with this object."""

    def __init__(self) -> None:
        self._library = _library()
        self._state = owned(self, self._library.gsm_create(), self._library.gsm_destroy)

    def encode(self, frame: Pcm) -> bytes:
        frame = checked_frame(frame, FRAME_SAMPLES, "GSM")
        out = ctypes.create_string_buffer(FRAME_BYTES)
        self._library.gsm_encode(self._state, frame.ctypes.data, out)
        return out.raw


class _GsmDecoder(FramewiseDecoder):
    """One libgsm decoder, freed with this object."""

    def __init__(self) -> None:
        super().__init__("GSM", FRAME_SAMPLES)
        library = _library()
        self._state, self._decode = owned(self, library.gsm_create(), library.gsm_destroy), library.gsm_decode

    def _into(self, frame: bytes, address: int) -> str:
        # libgsm always reads 33 bytes, so the length is checked first.
        if len(frame) != FRAME_BYTES or self._decode(self._state, frame, address) != 0:
            return f"a frame has {FRAME_BYTES} bytes and begins with the bits 1101"
        return ""


@dataclass(frozen=True)
class Gsm:
    """GSM 06.10 at 8 kHz; one 33-byte frame for each 20 ms of a packet."""

    name: str = "gsm"
    encoding_name: str = "GSM"
    payload_type: int = 3
    clock_rate: int = 8000
    sample_rate: int = 8000
    frame_samples: int = FRAME_SAMPLES
    packet_ms: float = 20
    channels: int = 1
    fmtp: str = ""
    lookahead_samples: int = 0

    @property
    def spec(self) -> str:
        """The name, with the packet time if it is not 20 ms."""
        return specification(self.name, (), self.packet_ms)

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _GsmEncoder()

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _GsmDecoder()

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of 33 bytes (20 ms)."""
        return cut(payload, FRAME_BYTES, FRAME_SAMPLES, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """160 for each complete frame."""
        return len(payload) // FRAME_BYTES * FRAME_SAMPLES


_IMPAIRMENT = Impairment(20.0, 31.7, f"Ie: ITU-T G.113 Appendix I, GSM 06.10; Bpl: {ESTIMATED}")

GSM = CodecKind(
    name="gsm",
    summary="GSM 06.10 full rate, 13 kbit/s",
    usage="gsm",
    make=lambda _options: Gsm(),
    look=Look("GSM 06.10", "vermilion", "dashed", "square", "slashes"),
    impairment=lambda _codec, _concealed: _IMPAIRMENT,
    encoding_takes_ns=120_000,
    ptimes=PTIMES,
)
