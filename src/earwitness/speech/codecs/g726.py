"""G.726 ADPCM, 16 to 40 kbit/s, by libspandsp. Source: ITU-T G.726, RFC 3551 4.5.4.

Two packings are in use: RFC 3551 puts the first code word into a byte's least significant bits, AAL2 (ITU-T I.366.2
Annex E; `AAL2-G726-32` in SDP) into the most significant ones. The wrong one is noise, and some phones send AAL2's
under the other's name; so of captured packets, that in which they are more like speech is taken.
Payload type 2 was G.721, the same as 32 kbit/s, in RFC 1890.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder, MalformedFrame
from earwitness.speech.codecs.framewise import FramewiseDecoder, cut, packet_times, specification
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.native import SPANDSP, checked_frame, declare, load, owned

RATES = (16, 24, 32, 40)
"""Bit rates in kbit/s: 2 to 5 bits a sample."""

_LINEAR = 0
_MOST_SIGNIFICANT_FIRST, _LEAST_SIGNIFICANT_FIRST = 1, 2
_STATIC = 2
_DYNAMIC = {16: 105, 24: 106, 32: 107, 40: 108}
_LEAST_PACKETS = 20
_LEAST_SAMPLES = 64
_ORDER = 10
"""Of the linear prediction by which speech is told: that of telephone codecs."""
_CLEARLY, _LEAST_GAIN = 0.07, 0.6
"""By how much the logarithm of the prediction gain must be greater for a packing to be the likelier, and how great:
speech in the right one has 0.07 to 2 more than in the wrong one and at least 0.75, noise less."""
_LEAST_RMS, _MOST_LOUDER = 30.0, 10.0
"""Softer sound is silence or its noise, and shows nothing; nor is the right packing much louder than the wrong one."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load(*SPANDSP)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    declare(library, "g726_init", pointer, pointer, number, number, number)
    declare(library, "g726_encode", number, pointer, ctypes.c_void_p, ctypes.c_void_p, number)
    declare(library, "g726_decode", number, pointer, ctypes.c_void_p, ctypes.c_char_p, number)
    declare(library, "g726_free", number, pointer)
    return library


def _state(owner: object, codec: G726) -> int:
    """A libspandsp state, freed with `owner`."""
    library = _library()
    packing = _MOST_SIGNIFICANT_FIRST if codec.aal2 else _LEAST_SIGNIFICANT_FIRST
    return owned(owner, library.g726_init(None, 1000 * codec.kbps, _LINEAR, packing), library.g726_free)


class _G726Encoder:
    def __init__(self, codec: G726) -> None:
        self._library, self._codec = _library(), codec
        self._state = _state(self, codec)

    def encode(self, frame: Pcm) -> bytes:
        samples = checked_frame(frame, self._codec.frame_samples, "G.726")
        out = np.empty(self._codec.frame_bytes, dtype=np.uint8)
        self._library.g726_encode(self._state, out.ctypes.data, samples.ctypes.data, len(samples))
        return out.tobytes()


class _G726Decoder(FramewiseDecoder):
    def __init__(self, codec: G726) -> None:
        super().__init__("G.726", codec.frame_samples)
        self._library, self._frame_bytes = _library(), codec.frame_bytes
        self._state = _state(self, codec)

    def _into(self, frame: bytes, address: int) -> str:
        if len(frame) != self._frame_bytes:
            return f"a frame of {self._frame_samples} samples has {self._frame_bytes} bytes"
        self._library.g726_decode(self._state, address, frame, len(frame))
        return ""


@dataclass(frozen=True)
class G726:
    """G.726 at 8 kHz; 20 ms packets of two 10 ms frames.

    `kbps`: 16, 24, 32 or 40. `aal2`: AAL2's packing instead of RFC 3551's. `frame_samples` may be any multiple of 8,
    which fill whole bytes at every rate.
    """

    kbps: int = 32
    aal2: bool = False
    payload_type: int = _DYNAMIC[32]
    frame_samples: int = 80
    packet_ms: int = 20
    name: str = "g726"
    clock_rate: int = 8000
    sample_rate: int = 8000
    channels: int = 1
    fmtp: str = ""
    lookahead_samples: int = 0

    def __post_init__(self) -> None:
        if self.frame_samples % 8:
            raise ValueError(f"a frame of G.726 has a multiple of 8 samples, not {self.frame_samples}")

    @property
    def spec(self) -> str:
        """`g726`, with the options that are not the default."""
        options = [str(self.kbps)] if self.kbps != 32 else []
        options += ["aal2=1"] if self.aal2 else []
        return specification(self.name, options, self.packet_ms)

    @property
    def encoding_name(self) -> str:
        """G726-32, or AAL2-G726-32."""
        return f"{'AAL2-' if self.aal2 else ''}G726-{self.kbps}"

    @property
    def bits(self) -> int:
        """Bits in a code word, one for each sample."""
        return self.kbps // 8

    @property
    def frame_bytes(self) -> int:
        """Bytes in a frame."""
        return self.frame_samples * self.bits // 8

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _G726Encoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _G726Decoder(self)

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of `frame_samples` code words."""
        return cut(payload, self.frame_bytes, self.frame_samples, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """Whole groups of 8 code words, which fill whole bytes at every rate."""
        return 8 * (len(payload) // self.bits)


def _make(options: Mapping[str, float]) -> G726:
    kbps = int(options.get("kbps", 32))
    return G726(kbps=kbps, aal2=bool(options.get("aal2", 0)), payload_type=_DYNAMIC[kbps])


def _offered(offer: Offer) -> G726 | None:
    if not offer.encoding_name or offer.encoding_name.upper() == "G721":
        # The static type is G.721's; by name alone it is often written so, too.
        known = offer.payload_type == _STATIC if not offer.encoding_name else True
        fits = known and offer.clock_rate in (None, G726.clock_rate)
        return offer.numbered(G726(payload_type=_STATIC)) if fits else None
    for kbps in RATES:
        for aal2 in (False, True):
            codec = G726(kbps=kbps, aal2=aal2, payload_type=_DYNAMIC[kbps])
            if offer.is_of(codec):
                return offer.numbered(_as_packed(codec, offer.payloads))
    return None


def _as_packed(codec: G726, payloads: Sequence[bytes]) -> G726:
    """The codec with the packing in which some of its payloads are clearly the more predictable, as speech is."""
    # A snap length leaves zeros; the few whole packets that end with one are not missed.
    whole = [payload for payload in payloads if payload and payload[-1]]
    other = replace(codec, aal2=not codec.aal2)
    (gain, energy), (other_gain, other_energy) = _predicted(codec, whole), _predicted(other, whole)
    sound = _LEAST_RMS**2 < other_energy < _MOST_LOUDER * energy
    return other if sound and other_gain > max(gain + _CLEARLY, _LEAST_GAIN) else codec


def _predicted(codec: G726, payloads: Sequence[bytes]) -> tuple[float, float]:
    """By how much linear prediction lowers the energy of decoded packets, as a logarithm: the mean over the louder
    half; and the mean energy of a sample in these. 0 if they are too few or too short."""
    decoder = codec.decoder()
    try:
        sounds = [decoder.decode_many(codec.split(payload)).reshape(-1) for payload in payloads]
    except MalformedFrame:
        return 0.0, 0.0
    length = min((len(sound) for sound in sounds), default=0)
    if len(sounds) < _LEAST_PACKETS or length < _LEAST_SAMPLES:
        return 0.0, 0.0
    x = np.array([sound[:length] for sound in sounds], dtype=np.float64) * np.hanning(length)
    lags = np.stack([np.sum(x[:, lag:] * x[:, : length - lag], axis=1) for lag in range(_ORDER + 1)], axis=1)
    lags = lags[lags[:, 0] > max(float(np.median(lags[:, 0])), 1.0)]
    if not len(lags):
        return 0.0, 0.0
    energy = float(np.mean(lags[:, 0])) / float(np.sum(np.hanning(length) ** 2))
    # A little white noise keeps the equations regular.
    lags[:, 0] *= 1.0001
    apart = np.abs(np.subtract.outer(np.arange(_ORDER), np.arange(_ORDER)))
    weights = np.linalg.solve(lags[:, apart], lags[:, 1:, None])[:, :, 0]
    left = lags[:, 0] - np.sum(weights * lags[:, 1:], axis=1)
    return float(np.mean(np.log(lags[:, 0] / np.maximum(left, 1e-9 * lags[:, 0])))), energy


G726_KIND = CodecKind(
    name="g726",
    summary="G.726 ADPCM, 32 kbit/s, or 16, 24 or 40; aal2=1: AAL2's packing",
    usage="g726[:16|24|32|40][,aal2=0|1]",
    make=_make,
    look=Look("G.726", "yellow", "solid", "square", "dots"),
    options=(Option("kbps", RATES, bare=True), Option("aal2", (0, 1))),
    offered=_offered,
    encoding_takes_ns=100_000,
    ptimes=packet_times(1, 60, 1),
    grain=8,
)
