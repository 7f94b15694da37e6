"""G.729 Annexes A and B, 8 kbit/s, by libbcg729. Source: ITU-T G.729, RFC 3551 4.5.6.

A frame of speech has 10 bytes and lasts 10 ms. Annex B's silence descriptor (SID) has 2 bytes, ends a packet, and is
followed by silence until the next packet: the decoder makes comfort noise of it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.speech.codecs.base import Decoder, Encoder, most_frames
from earwitness.speech.codecs.framewise import FramewiseDecoder, packet_times, specification
from earwitness.speech.codecs.kind import CodecKind, Impairment, Offer
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

FRAME_SAMPLES = 80
FRAME_BYTES = 10
SID_BYTES = 2
_MOST_FRAMES = most_frames(FRAME_SAMPLES, 8000)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load("libbcg729.so.0", "apt-get install libbcg729-0")
    pointer, byte = ctypes.c_void_p, ctypes.c_uint8
    declare(library, "initBcg729EncoderChannel", pointer, byte)
    declare(library, "closeBcg729EncoderChannel", None, pointer)
    declare(library, "bcg729Encoder", None, pointer, pointer, ctypes.c_char_p, ctypes.POINTER(byte))
    declare(library, "initBcg729DecoderChannel", pointer)
    declare(library, "closeBcg729DecoderChannel", None, pointer)
    declare(library, "bcg729Decoder", None, pointer, ctypes.c_char_p, byte, byte, byte, byte, pointer)
    return library


class _G729Encoder:
    """One libbcg729 encoder, freed with this object. It sends speech all the time: VAD is off."""

    def __init__(self) -> None:
        self._library = _library()
        begun = self._library.initBcg729EncoderChannel(0)
        self._state = owned(self, begun, self._library.closeBcg729EncoderChannel)

    def encode(self, frame: Pcm) -> bytes:
        samples = checked_frame(frame, FRAME_SAMPLES, "G.729")
        out, size = ctypes.create_string_buffer(FRAME_BYTES), ctypes.c_uint8()
        self._library.bcg729Encoder(self._state, samples.ctypes.data, out, ctypes.byref(size))
        return out.raw[: size.value]


class _G729Decoder(FramewiseDecoder):
    """One libbcg729 decoder, freed with this object."""

    def __init__(self) -> None:
        super().__init__("G.729", FRAME_SAMPLES)
        self._library = _library()
        begun = self._library.initBcg729DecoderChannel()
        self._state = owned(self, begun, self._library.closeBcg729DecoderChannel)

    def _into(self, frame: bytes, address: int) -> str:
        size = len(frame)
        if size not in (FRAME_BYTES, SID_BYTES):
            return f"a frame has {FRAME_BYTES} bytes, a silence descriptor {SID_BYTES}"
        self._pausing = size == SID_BYTES
        self._library.bcg729Decoder(self._state, frame, size, 0, int(size == SID_BYTES), 0, address)
        return ""

    def conceal(self) -> Pcm | None:
        """G.729 4.4's concealment; after a silence descriptor, more of its comfort noise."""
        out = np.empty(FRAME_SAMPLES, dtype=np.int16)
        self._library.bcg729Decoder(self._state, None, 0, 1, 0, 0, out.ctypes.data)
        return out


@dataclass(frozen=True)
class G729:
    """G.729A at 8 kHz, 8 kbit/s; two frames of 10 ms in a 20 ms packet. It encodes without Annex B (`annexb=no`)."""

    payload_type: int = 18
    packet_ms: int = 20
    name: str = "g729"
    encoding_name: str = "G729"
    clock_rate: int = 8000
    sample_rate: int = 8000
    frame_samples: int = FRAME_SAMPLES
    channels: int = 1
    fmtp: str = "annexb=no"
    lookahead_samples: int = 40

    @property
    def spec(self) -> str:
        """The name, with the packet time if it is not 20 ms."""
        return specification(self.name, (), self.packet_ms)

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _G729Encoder()

    def decoder(self) -> Decoder:
        """A fresh decoder; of Annex B, too, whatever SDP said."""
        return _G729Decoder()

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of 10 bytes, and a silence descriptor of 2 at the end (RFC 3551 4.5.6)."""
        speech = len(payload) // FRAME_BYTES
        frames = [
            payload[at : at + FRAME_BYTES] for at in range(0, FRAME_BYTES * min(speech, _MOST_FRAMES), FRAME_BYTES)
        ]
        if len(payload) == FRAME_BYTES * speech + SID_BYTES and speech < _MOST_FRAMES:
            frames.append(payload[-SID_BYTES:])
        return frames

    def samples_in(self, payload: bytes) -> int:
        """80 samples a frame, and for a silence descriptor."""
        frames, left = divmod(len(payload), FRAME_BYTES)
        return FRAME_SAMPLES * (frames + (left == SID_BYTES))


def _offered(offer: Offer) -> G729 | None:
    # G.729A and AB have the same bits; some phones name them.
    named = offer.encoding_name.upper() in ("G729A", "G729AB")
    if not (named and offer.clock_rate in (None, G729.clock_rate)) and not offer.is_of(G729()):
        return None
    return offer.numbered(G729())


_IMPAIRMENT = Impairment(11.0, 19.0, "ITU-T G.113 Appendix I: G.729A with VAD")

G729_KIND = CodecKind(
    name="g729",
    summary="G.729 Annex A, 8 kbit/s; decodes Annex B",
    usage="g729",
    make=lambda _options: G729(),
    look=Look("G.729", "black", "long-dot", "cross", "bars"),
    impairment=lambda _codec, _concealed: _IMPAIRMENT,
    offered=_offered,
    encoding_takes_ns=500_000,
    has_own_concealment=True,
    ptimes=packet_times(10, 120, 10),
)
