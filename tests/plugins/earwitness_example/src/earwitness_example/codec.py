"""L24: linear PCM, 24 bits a sample, big-endian (RFC 3190 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Codec, Decoder, Encoder, MalformedFrame
from earwitness.speech.codecs.kind import CodecKind, Impairment, Offer

MOST_FRAMES = 10
"""Of 20 ms in one packet: 200 ms are what a receiver should take (RFC 3551 4.2)."""


class _Coder:
    """Encoder and decoder at once: there is no state."""

    def __init__(self, frame_samples: int) -> None:
        self._frame_bytes = 3 * frame_samples

    def encode(self, frame: Pcm) -> bytes:
        # A sample's 16 bits, and eight zeros.
        return (frame.astype(np.int32) << 8).astype(">i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()

    def decode(self, frame: bytes) -> Pcm:
        if len(frame) != self._frame_bytes:
            raise MalformedFrame("l24", frame, f"a frame has {self._frame_bytes} bytes")
        wide = np.frombuffer(frame, dtype=np.uint8).reshape(-1, 3)
        return np.ascontiguousarray(wide[:, :2]).view(">i2").reshape(-1).astype(np.int16)

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        return np.array([self.decode(frame) for frame in frames], np.int16).reshape(len(frames), -1)

    def conceal(self) -> Pcm | None:
        return None  # it has no concealment of its own

    def recover(self, next_frame: bytes) -> Pcm | None:
        return None  # and no redundancy


@dataclass(frozen=True)
class LinearPcm:
    """L24, mono, one frame in a 20 ms packet."""

    sample_rate: int = 16000
    payload_type: int = 107
    name: str = "l24"
    encoding_name: str = "L24"
    packet_ms: float = 20
    channels: int = 1
    fmtp: str = ""
    lookahead_samples: int = 0

    @property
    def spec(self) -> str:
        return "l24" if self.sample_rate == 16000 else f"l24:{self.sample_rate}"

    @property
    def clock_rate(self) -> int:
        return self.sample_rate

    @property
    def frame_samples(self) -> int:
        return self.sample_rate // 50

    def encoder(self) -> Encoder:
        return _Coder(self.frame_samples)

    def decoder(self) -> Decoder:
        return _Coder(self.frame_samples)

    def split(self, payload: bytes) -> list[bytes]:
        size = 3 * self.frame_samples
        whole = min(len(payload) // size, MOST_FRAMES)
        return [payload[at * size : (at + 1) * size] for at in range(whole)]

    def samples_in(self, payload: bytes) -> int:
        return len(payload) // 2 // self.frame_samples * self.frame_samples


def _make(options: Mapping[str, float]) -> Codec:
    return LinearPcm(sample_rate=int(options.get("rate", 16000)))


def _offered(offer: Offer) -> Codec | None:
    codec = LinearPcm(sample_rate=offer.clock_rate or 16000, payload_type=offer.payload_type or 107)
    return codec if codec.sample_rate in (8000, 16000) and offer.is_of(codec) else None


L24 = CodecKind(
    name="l24",
    summary="L24, uncompressed 24-bit sound, 384 kbit/s at 16 kHz",
    usage="l24[:8000|16000]",
    make=_make,
    options=(Option("rate", (8000, 16000), bare=True),),
    look=Look("L24", "grey", "dotted", "plus", "slashes"),
    impairment=lambda _codec, _concealed: Impairment(0.0, 4.3, "as G.711 without concealment, which it is finer than"),
    offered=_offered,
)
