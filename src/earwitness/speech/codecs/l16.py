"""L16: linear PCM, 16 bits a sample, big-endian. Source: RFC 3551 4.5.11, RFC 2586."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder, MalformedFrame
from earwitness.speech.codecs.framewise import cut, packet_times, specification
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.native import checked_frame
from earwitness.speech.samples import to_int16

RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
_MOST_BYTES = 1400
"""The largest payload that it sends: with its headers, one packet of the network."""
_STATIC_RATE, _STATIC, _STATIC_STEREO, _DYNAMIC = 44100, 11, 10, 110


@dataclass(frozen=True)
class _L16Coder:
    """Encoder and decoder in one, because L16 has no state."""

    frame_samples: int
    channels: int

    def encode(self, frame: Pcm) -> bytes:
        samples = checked_frame(frame, self.frame_samples, "L16").astype(">i2")
        return np.repeat(samples, self.channels).tobytes()

    def decode(self, frame: bytes) -> Pcm:
        samples: Pcm = self.decode_many([frame])[0]
        return samples

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        size = 2 * self.channels * self.frame_samples
        wrong = next((frame for frame in frames if len(frame) != size), None)
        if wrong is not None:
            raise MalformedFrame("L16", wrong, f"a frame of {self.frame_samples} samples has {size} bytes")
        samples = np.frombuffer(b"".join(frames), dtype=">i2").reshape(len(frames), self.frame_samples, self.channels)
        return samples[..., 0].astype(np.int16) if self.channels == 1 else to_int16(samples.mean(axis=2))

    def conceal(self) -> Pcm | None:
        return None

    def recover(self, next_frame: bytes) -> Pcm | None:
        return None


@dataclass(frozen=True)
class L16:
    """L16 at any rate; its RTP clock is its sample rate.

    Packets have 20 ms, rounded down to whole samples; 10 or 5 ms where 20 do not fit into one packet of the network.
    Raises `InputError` for other packet times that do not fit, or have no whole number of samples.

    `channels`: 2 decodes stereo, mixed down to one channel; sends the same in both. `frame_samples` may be any number.
    """

    sample_rate: int = 16000
    channels: int = 1
    payload_type: int = _DYNAMIC
    frame_samples: int = 320
    packet_ms: int = 20
    name: str = "l16"
    encoding_name: str = "L16"
    fmtp: str = ""
    lookahead_samples: int = 0

    def __post_init__(self) -> None:
        if self.packet_ms == _usual_ms(self.sample_rate, self.channels):
            return
        samples, rest = divmod(self.sample_rate * self.packet_ms, 1000)
        size = 2 * self.channels * samples
        if rest or size > _MOST_BYTES:
            happened = f"at {self.sample_rate} Hz they have no whole number of samples"
            if not rest:
                happened = f"they have {size} bytes, more than the {_MOST_BYTES} that one packet of the network takes"
            tried = f"making packets of {self.packet_ms:g} ms"
            raise InputError(tried, self.name, happened, "choose another packet time", field="ptime")

    @property
    def spec(self) -> str:
        """`l16`, with the options that are not the default."""
        options = [str(self.sample_rate)] if self.sample_rate != 16000 else []
        options += [f"channels={self.channels}"] if self.channels != 1 else []
        return specification(self.name, options, self.packet_ms, _usual_ms(self.sample_rate, self.channels))

    @property
    def clock_rate(self) -> int:
        """The sample rate."""
        return self.sample_rate

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _L16Coder(self.frame_samples, self.channels)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _L16Coder(self.frame_samples, self.channels)

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of `frame_samples`, two bytes for each sample of each channel."""
        return cut(payload, 2 * self.channels * self.frame_samples, self.frame_samples, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """Complete samples, each in all channels."""
        return len(payload) // (2 * self.channels)


def l16(sample_rate: int, channels: int = 1, payload_type: int | None = None) -> L16:
    """L16 of this rate, with the static payload type where RFC 3551 has one, in the longest packets that fit."""
    static = (_STATIC if channels == 1 else _STATIC_STEREO) if sample_rate == _STATIC_RATE else _DYNAMIC
    packet_ms = _usual_ms(sample_rate, channels)
    number = static if payload_type is None else payload_type
    return L16(sample_rate, channels, number, sample_rate * packet_ms // 1000, packet_ms)


def _usual_ms(sample_rate: int, channels: int) -> int:
    return next(ms for ms in (20, 10, 5) if 2 * channels * sample_rate * ms <= 1000 * _MOST_BYTES)


def _make(options: Mapping[str, float]) -> L16:
    return l16(int(options.get("rate", 16000)), int(options.get("channels", 1)))


def _offered(offer: Offer) -> L16 | None:
    static = not offer.encoding_name and offer.payload_type in (_STATIC, _STATIC_STEREO)
    if not static and offer.encoding_name.upper() != "L16":
        return None
    rate = offer.clock_rate or _STATIC_RATE
    channels = offer.channels or (2 if offer.payload_type == _STATIC_STEREO else 1)
    if rate not in RATES:
        return None
    if channels > 1:
        raise InputError(
            "decoding",
            f"L16/{rate}/{channels}",
            f"it has {channels} channels, and sound is mono here",
            f"{{codec}} l16:{rate},channels=2 mixes two channels down" if channels == 2 else "take one channel of it",
            related=("codec",),
        )
    return l16(rate, 1, offer.payload_type)


L16_KIND = CodecKind(
    name="l16",
    summary="L16, uncompressed, 256 kbit/s at 16 kHz; channels=2: stereo, mixed down",
    usage="l16[:8000-48000][,channels=1|2]",
    make=_make,
    look=Look("L16", "green", "solid", "wedge", "crosses"),
    options=(Option("rate", RATES, bare=True), Option("channels", (1, 2))),
    offered=_offered,
    encoding_takes_ns=10_000,
    ptimes=packet_times(1, 60, 1),
    grain=1,
)
