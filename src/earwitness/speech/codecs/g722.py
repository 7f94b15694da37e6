"""G.722 wideband, 64 kbit/s, by libspandsp. Source: ITU-T G.722, RFC 3551 4.5.2.

Its RTP clock is 8,000 Hz although it has 16,000 samples a second: an error in RFC 1890 that RFC 3551 keeps.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.speech.codecs.base import Decoder, Encoder
from earwitness.speech.codecs.framewise import FramewiseDecoder, cut, packet_times, specification
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.native import SPANDSP, checked_frame, declare, load, owned

_BIT_RATE = 64_000


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load(*SPANDSP)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    declare(library, "g722_encode_init", pointer, pointer, number, number)
    declare(library, "g722_encode", number, pointer, ctypes.c_void_p, ctypes.c_void_p, number)
    declare(library, "g722_encode_free", number, pointer)
    declare(library, "g722_decode_init", pointer, pointer, number, number)
    declare(library, "g722_decode", number, pointer, ctypes.c_void_p, ctypes.c_char_p, number)
    declare(library, "g722_decode_free", number, pointer)
    return library


class _G722Encoder:
    """One libspandsp encoder, freed with this object."""

    def __init__(self, frame_samples: int) -> None:
        self._library, self._frame_samples = _library(), frame_samples
        begun = self._library.g722_encode_init(None, _BIT_RATE, 0)
        self._state = owned(self, begun, self._library.g722_encode_free)

    def encode(self, frame: Pcm) -> bytes:
        samples = checked_frame(frame, self._frame_samples, "G.722")
        out = np.empty(self._frame_samples // 2, dtype=np.uint8)
        self._library.g722_encode(self._state, out.ctypes.data, samples.ctypes.data, len(samples))
        return out.tobytes()


class _G722Decoder(FramewiseDecoder):
    """One libspandsp decoder, freed with this object."""

    def __init__(self, frame_samples: int) -> None:
        super().__init__("G.722", frame_samples)
        self._library = _library()
        begun = self._library.g722_decode_init(None, _BIT_RATE, 0)
        self._state = owned(self, begun, self._library.g722_decode_free)

    def _into(self, frame: bytes, address: int) -> str:
        if 2 * len(frame) != self._frame_samples:
            return f"a frame of {self._frame_samples} samples has {self._frame_samples // 2} bytes"
        self._library.g722_decode(self._state, address, frame, len(frame))
        return ""


@dataclass(frozen=True)
class G722:
    """G.722 at 16 kHz, 64 kbit/s: two samples a byte; 20 ms packets of two 10 ms frames.

    `frame_samples` may be any even number.
    """

    frame_samples: int = 160
    packet_ms: int = 20
    payload_type: int = 9
    name: str = "g722"
    encoding_name: str = "G722"
    clock_rate: int = 8000
    sample_rate: int = 16000
    channels: int = 1
    fmtp: str = ""
    lookahead_samples: int = 22

    @property
    def spec(self) -> str:
        """The name, with the packet time if it is not 20 ms."""
        return specification(self.name, (), self.packet_ms)

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _G722Encoder(self.frame_samples)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _G722Decoder(self.frame_samples)

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of `frame_samples`, half as many bytes."""
        return cut(payload, self.frame_samples // 2, self.frame_samples, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """Two samples a byte."""
        return 2 * len(payload)


def _offered(offer: Offer) -> G722 | None:
    # Some phones write G722/16000, and mean the same.
    rate = 8000 if offer.clock_rate == 16000 else offer.clock_rate
    if not replace(offer, clock_rate=rate).is_of(G722()):
        return None
    return offer.numbered(G722())


G722_KIND = CodecKind(
    name="g722",
    summary="G.722 wideband, 64 kbit/s",
    usage="g722",
    make=lambda _options: G722(),
    look=Look("G.722", "orange", "long", "wedge", "backslashes"),
    offered=_offered,
    encoding_takes_ns=200_000,
    ptimes=packet_times(1, 60, 1),
    grain=2,
)
