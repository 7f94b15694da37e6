"""Speex wideband (16 kHz) by libspeex. Source: the Speex codec manual, RFC 5574.

A frame is a narrowband frame of the low band, followed by the high band's layer.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder, most_frames
from earwitness.speech.codecs.framewise import FramewiseDecoder, packet_times, specification
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.native import checked_frame
from earwitness.speech.codecs.speex import PLAIN, SUBMODE_BITS, SpeexBits, freed, speex_library, terminated

FRAME_SAMPLES = 320
HIGH_BAND_BITS = {0: 4, 1: 36, 2: 112, 3: 192, 4: 352}
"""Bits in the high band's layer by submode, with the four that announce it (Speex manual, table 10.1)."""

_MOST_FRAMES = most_frames(FRAME_SAMPLES, 16000)
_MOST_BYTES = -(-_MOST_FRAMES * (max(SUBMODE_BITS.values()) + max(HIGH_BAND_BITS.values())) // 8)
_WIDEBAND = 1
_SET_ENHANCER, _SET_QUALITY, _SET_COMPLEXITY, _GET_LOOKAHEAD = 0, 4, 16, 39


class _State:
    """One wideband encoder or decoder of libspeex with its bit stream; freed with this object."""

    def __init__(self, side: str, library: ctypes.CDLL) -> None:
        self.library = library
        self.pointer = getattr(library, f"speex_{side}_init")(library.speex_lib_get_mode(_WIDEBAND))
        self._control = getattr(library, f"speex_{side}_ctl")
        bits = self.bits = SpeexBits()
        library.speex_bits_init(bits)
        weakref.finalize(self, freed, library, getattr(library, f"speex_{side}_destroy"), self.pointer, bits)

    def control(self, request: int, value: int = 0) -> int:
        """Set or get one parameter."""
        holder = ctypes.c_int32(value)
        if self._control(self.pointer, request, holder) != 0:
            raise ValueError(f"libspeex does not know request {request}")
        return holder.value


class _WidebandEncoder:
    def __init__(self, codec: SpeexWideband) -> None:
        self._state = _State("encoder", speex_library())
        self._state.control(_SET_QUALITY, codec.quality)
        self._state.control(_SET_COMPLEXITY, codec.complexity)

    def encode(self, frame: Pcm) -> bytes:
        # libspeex may write to its input, so it gets a copy.
        samples = checked_frame(frame, FRAME_SAMPLES, "Speex wideband").copy()
        state, library = self._state, self._state.library
        library.speex_bits_reset(state.bits)
        library.speex_encode_int(state.pointer, samples.ctypes.data, state.bits)
        out = ctypes.create_string_buffer(256)
        size: int = library.speex_bits_write(state.bits, out, 256)
        return out.raw[:size]


class _WidebandDecoder(FramewiseDecoder):
    def __init__(self) -> None:
        super().__init__("Speex wideband", FRAME_SAMPLES)
        self._state = _State("decoder", speex_library(PLAIN.exists()))
        self._state.control(_SET_ENHANCER, 1)

    def _into(self, frame: bytes, address: int) -> str:
        state, library = self._state, self._state.library
        library.speex_bits_read_from(state.bits, frame, len(frame))
        failed = not frame or library.speex_decode_int(state.pointer, state.bits, address) != 0
        return "it has no wideband frame" if failed else ""

    def conceal(self) -> Pcm | None:
        """libspeex's own concealment."""
        out = np.empty(FRAME_SAMPLES, dtype=np.int16)
        self._state.library.speex_decode_int(self._state.pointer, None, out.ctypes.data)
        return out


@dataclass(frozen=True)
class SpeexWideband:
    """Speex at 16 kHz; a frame every 20 ms. Constant bit rate; VAD and DTX in the encoder are off.

    `quality` 0-10 selects the submodes and so the bit rate; 8 gives 27.8 kbit/s.
    """

    quality: int = 8
    complexity: int = 2
    payload_type: int = 98
    packet_ms: int = 20
    name: str = "speex-wb"
    encoding_name: str = "speex"
    clock_rate: int = 16000
    sample_rate: int = 16000
    frame_samples: int = FRAME_SAMPLES
    channels: int = 1
    fmtp: str = ""

    @property
    def spec(self) -> str:
        """`speex-wb`, with the options that are not the default."""
        options = [f"quality={self.quality}"] if self.quality != 8 else []
        options += [f"complexity={self.complexity}"] if self.complexity != 2 else []
        return specification(self.name, options, self.packet_ms)

    @property
    def lookahead_samples(self) -> int:
        """Encoder's and decoder's look-ahead together."""
        return _lookahead()

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _WidebandEncoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder with the enhancer on, of the libspeex copy without SSE if it exists."""
        return _WidebandDecoder()

    def split(self, payload: bytes) -> list[bytes]:
        """The frames in a payload, which are packed bit by bit, not byte by byte (RFC 5574 3.2)."""
        payload = payload[:_MOST_BYTES]
        total, stream = 8 * len(payload), int.from_bytes(payload, "big")
        frames: list[bytes] = []
        at = 0
        while len(frames) < _MOST_FRAMES and (size := _frame_bits(stream, total - at)):
            frames.append(terminated(stream >> (total - at - size) & ((1 << size) - 1), size))
            at += size
        return frames

    def pack(self, frames: Sequence[bytes]) -> bytes:
        """One payload with these frames, bit by bit, padded at the end."""
        stream = length = 0
        for frame in frames:
            value, left = int.from_bytes(frame, "big"), 8 * len(frame)
            size = _frame_bits(value, left)
            stream, length = stream << size | value >> (left - size), length + size
        return terminated(stream, length)

    def samples_in(self, payload: bytes) -> int:
        """320 samples a frame."""
        return FRAME_SAMPLES * len(self.split(payload))


def _frame_bits(stream: int, left: int) -> int:
    """The bits of the frame with which the last `left` bits of a stream begin; 0 if they begin with none."""

    def bits(at: int, count: int) -> int:
        return stream >> (left - at - count) & ((1 << count) - 1) if at + count <= left else -1

    low = SUBMODE_BITS.get(bits(0, 5), 0)
    layer = bits(low, 4)
    # The layer begins with a 1 and its submode; without it, the frame is narrowband.
    high = HIGH_BAND_BITS.get(layer & 7, 0) if layer >= 8 else 0
    return low + high if low and high and low + high <= left else 0


@lru_cache(maxsize=1)
def _lookahead() -> int:
    return sum(_State(side, speex_library()).control(_GET_LOOKAHEAD) for side in ("encoder", "decoder"))


def _make(options: Mapping[str, float]) -> SpeexWideband:
    given = {name: int(value) for name, value in options.items()}
    return SpeexWideband(given.get("quality", 8), given.get("complexity", 2))


def _offered(offer: Offer) -> SpeexWideband | None:
    # A narrowband name without a clock is the narrowband codec's.
    if offer.clock_rate is None or not offer.is_of(SpeexWideband()):
        return None
    return SpeexWideband() if offer.payload_type is None else SpeexWideband(payload_type=offer.payload_type)


SPEEX_WIDEBAND = CodecKind(
    name="speex-wb",
    summary="Speex wideband, 27.8 kbit/s at quality 8",
    usage="speex-wb[:QUALITY][,complexity=0-10][,ptime=20-120]",
    make=_make,
    look=Look("Speex wideband", "sky", "dashed", "diamond", "grid"),
    options=(Option("quality", range(11), bare=True), Option("complexity", range(11))),
    offered=_offered,
    encoding_takes_ns=800_000,
    has_own_concealment=True,
    ptimes=packet_times(20, 120, 20),
)
