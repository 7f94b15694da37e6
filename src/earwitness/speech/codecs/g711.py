"""G.711: 8-bit logarithmic PCM, mu-law and A-law, by table. Source: ITU-T G.711 tables 1 and 2, RFC 3551 4.5.14."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.speech.codecs.base import Codec, Decoder, Encoder, MalformedFrame
from earwitness.speech.codecs.framewise import cut, packet_times, specification
from earwitness.speech.codecs.kind import CodecKind, Impairment
from earwitness.speech.codecs.native import checked_frame

Law = Literal["u", "a"]
Bytes = NDArray[np.uint8]

FRAME_SAMPLES = 80
"""10 ms: one G.711 frame as counted by PJMEDIA; a 20 ms packet has two of them."""

PTIMES = packet_times(1, 60, 1)
"""RFC 3551 4.2 permits any; its table 1 has 20 ms as the default."""
_MU_BIAS = 33
_MU_CLIP = 8158


@lru_cache(maxsize=2)
def expansion(law: Law) -> Pcm:
    """The 256 decoded values, index = the byte on the wire; left-justified in 16 bits."""
    code = np.arange(256, dtype=np.int32)
    if law == "u":
        code = ~code & 0xFF
        segment, step = (code >> 4) & 7, code & 15
        magnitude = (((step << 1) + _MU_BIAS) << segment) - _MU_BIAS
        return (np.where(code & 0x80, -magnitude, magnitude) * 4).astype(np.int16)
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 15
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8).astype(np.int16)


@lru_cache(maxsize=2)
def compression(law: Law) -> Bytes:
    """The byte for each 16-bit sample, (65536,) uint8, index = the sample read as unsigned.

    The sample's low bits are dropped first (14 bits for mu-law, 13 for A-law). A value exactly on a decision level,
    which the standard leaves open, goes to the outer interval for mu-law, as in softphones in the field.
    """
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    if law == "u":
        value = sample >> 2
        magnitude = np.minimum(np.abs(value), _MU_CLIP) + _MU_BIAS
        segment = _bit_length(magnitude) - 6
        code = (segment << 4) | ((magnitude >> (segment + 1)) & 15)
        mu_coded: Bytes = np.where(value < 0, code ^ 0x7F, code ^ 0xFF).astype(np.uint8)
        return mu_coded
    value = sample >> 3
    magnitude = np.where(value < 0, -value - 1, value)
    segment = np.maximum(_bit_length(magnitude) - 5, 0)
    code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 15)
    return (np.where(value < 0, code, code | 0x80) ^ 0x55).astype(np.uint8)


def _bit_length(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Position of the highest set bit plus one; 0 for 0."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int32)


@dataclass(frozen=True)
class _G711Coder:
    """Encoder and decoder in one, because G.711 has no state."""

    law: Law
    frame_samples: int

    def encode(self, frame: Pcm) -> bytes:
        frame = checked_frame(frame, self.frame_samples, "G.711")
        coded: Bytes = compression(self.law)[frame.view(np.uint16)]
        return coded.tobytes()

    def decode(self, frame: bytes) -> Pcm:
        if not frame:
            raise MalformedFrame("G.711", frame, "it is empty")
        samples: Pcm = expansion(self.law)[np.frombuffer(frame, dtype=np.uint8)]
        return samples

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        together = b"".join(frames)
        size = self.frame_samples
        if len(together) != len(frames) * size:
            wrong = next(frame for frame in frames if len(frame) != size)
            raise MalformedFrame("G.711", wrong, f"a frame has {size} bytes")
        samples: Pcm = expansion(self.law)[np.frombuffer(together, dtype=np.uint8)]
        return samples.reshape(len(frames), size)

    def conceal(self) -> Pcm | None:
        return None

    def recover(self, next_frame: bytes) -> Pcm | None:
        return None


@dataclass(frozen=True)
class G711:
    """G.711 at 8 kHz, 64 kbit/s; 20 ms packets of two 10 ms frames. It can be cut into frames of any length."""

    law: Law = "u"
    sample_rate: int = 8000
    clock_rate: int = 8000
    frame_samples: int = FRAME_SAMPLES
    packet_ms: float = 20
    channels: int = 1
    fmtp: str = ""
    lookahead_samples: int = 0

    @property
    def name(self) -> str:
        """`g711u` or `g711a`."""
        return f"g711{self.law}"

    @property
    def spec(self) -> str:
        """The name, with the packet time if it is not 20 ms."""
        return specification(self.name, (), self.packet_ms)

    @property
    def encoding_name(self) -> str:
        """PCMU or PCMA."""
        return f"PCM{self.law.upper()}"

    @property
    def payload_type(self) -> int:
        """0 or 8 (RFC 3551 table 4)."""
        return 0 if self.law == "u" else 8

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _G711Coder(self.law, self.frame_samples)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _G711Coder(self.law, self.frame_samples)

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of `frame_samples` bytes."""
        return cut(payload, self.frame_samples, self.frame_samples, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """One a byte."""
        return len(payload)


_G113 = "ITU-T G.113 Appendix I: G.711"
_CONCEALED = Impairment(0.0, 25.1, f"{_G113} with packet loss concealment")
_BARE = Impairment(0.0, 4.3, f"{_G113} without packet loss concealment")


def _impairment(_codec: Codec, concealed: bool) -> Impairment:
    return _CONCEALED if concealed else _BARE


MU_LAW = CodecKind(
    name="g711u",
    summary="G.711 mu-law, 64 kbit/s",
    usage="g711u",
    make=lambda _options: G711("u"),
    look=Look("G.711 μ-law", "blue"),
    impairment=_impairment,
    encoding_takes_ns=50_000,
    ptimes=PTIMES,
    grain=1,
)
A_LAW = CodecKind(
    name="g711a",
    summary="G.711 A-law, 64 kbit/s",
    usage="g711a",
    make=lambda _options: G711("a"),
    look=Look("G.711 A-law", "sky", "dash-dot-dot", "plus", "grid"),
    impairment=_impairment,
    encoding_takes_ns=50_000,
    ptimes=PTIMES,
    grain=1,
)
