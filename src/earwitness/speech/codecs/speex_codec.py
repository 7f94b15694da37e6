"""What narrowband and wideband Speex have in common: libspeex, and frames packed bit by bit. Source: the Speex codec
manual, RFC 5574.

Distributions' libspeex sums with SSE, four lanes at a time, which changes the last bit of a few samples in a thousand.
The published study's phones used PJSIP's own build without SSE; a copy linked that way at installation
(`tools/build_native.py`) reproduces their recordings exactly. It decodes, if it is there.
"""

from __future__ import annotations

import ctypes
import weakref
from abc import ABC
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from earwitness.arrays import Pcm
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder, most_frames
from earwitness.speech.codecs.framewise import FramewiseDecoder, packet_times, specification
from earwitness.speech.codecs.kind import Offer
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

PLAIN = Path(__file__).parent / "native_code" / "libspeex_plain.so"
"""The copy that sums without SSE; missing if it could not be linked at installation."""
SUBMODE_BITS = {0: 5, 1: 43, 2: 119, 3: 160, 4: 220, 5: 300, 6: 364, 7: 492, 8: 79}
"""Bits in a narrowband frame by submode (Speex manual, table 9.2); mode 15 ends a packet."""
PTIMES = packet_times(20, 120, 20)
"""Whole frames (RFC 5574 3.2)."""
OPTIONS = (Option("quality", range(11), bare=True), Option("complexity", range(11)))

_SET_ENHANCER, _SET_QUALITY, _SET_COMPLEXITY, _GET_LOOKAHEAD = 0, 4, 16, 39
_SET_VBR, _SET_VAD, _SET_DTX = 12, 30, 34
_MOST_PACKET_BYTES = 256
_Some = TypeVar("_Some", bound="SpeexCodec")


@dataclass(frozen=True)
class Band:
    """A bandwidth of Speex: libspeex's number of it, its name in errors, and its frames of 20 ms."""

    mode: int
    title: str
    frame: str
    """What a frame of it is called."""
    frame_samples: int
    frame_bits: Callable[[int, int], int]
    """The bits of the frame with which the last so many bits of a stream begin; 0 if they begin with none."""
    most_bits: int
    """In a frame."""
    qualities: Mapping[int, int]
    """The quality that encodes to so many bits a frame. If several do, the usual one or the highest."""


class SpeexBits(ctypes.Structure):
    """`SpeexBits` of speex_bits.h: a bit stream with its cursor."""

    _fields_ = (
        ("chars", ctypes.c_void_p),
        ("nbBits", ctypes.c_int),
        ("charPtr", ctypes.c_int),
        ("bitPtr", ctypes.c_int),
        ("owner", ctypes.c_int),
        ("overflow", ctypes.c_int),
        ("buf_size", ctypes.c_int),
        ("reserved1", ctypes.c_int),
        ("reserved2", ctypes.c_void_p),
    )


@cache
def speex_library(plain: bool = False) -> ctypes.CDLL:
    """libspeex: the system's, or the `plain` copy without SSE. Raises `CodecLibraryMissing`."""
    if plain:
        library = load(str(PLAIN), "remove it, and `earwitness doctor` says how it is made")
    else:
        library = load("libspeex.so.1", "apt-get install libspeex1")
    pointer, number, bits = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(SpeexBits)
    declare(library, "speex_lib_get_mode", pointer, number)
    declare(library, "speex_bits_init", None, bits)
    declare(library, "speex_bits_destroy", None, bits)
    declare(library, "speex_bits_reset", None, bits)
    declare(library, "speex_bits_read_from", None, bits, ctypes.c_char_p, number)
    declare(library, "speex_bits_write", number, bits, ctypes.c_char_p, number)
    for side in ("encoder", "decoder"):
        declare(library, f"speex_{side}_init", pointer, pointer)
        declare(library, f"speex_{side}_destroy", None, pointer)
        declare(library, f"speex_{side}_ctl", number, pointer, number, ctypes.POINTER(ctypes.c_int32))
    declare(library, "speex_encode_int", number, pointer, pointer, bits)
    declare(library, "speex_decode_int", number, pointer, bits, pointer)
    return library


class _State:
    """One encoder or decoder of libspeex with its bit stream; freed with this object."""

    def __init__(self, side: str, band: Band, library: ctypes.CDLL) -> None:
        self.library = library
        begin = getattr(library, f"speex_{side}_init")
        self.pointer = owned(
            self, begin(library.speex_lib_get_mode(band.mode)), getattr(library, f"speex_{side}_destroy")
        )
        self._control = getattr(library, f"speex_{side}_ctl")
        bits = self.bits = SpeexBits()
        library.speex_bits_init(bits)
        weakref.finalize(self, library.speex_bits_destroy, bits)

    def control(self, request: int, value: int = 0) -> int:
        """Set or get one parameter."""
        holder = ctypes.c_int32(value)
        if self._control(self.pointer, request, holder) != 0:
            raise ValueError(f"libspeex does not know request {request}")
        return holder.value


class SpeexEncoder:
    """One encoder of constant bit rate."""

    def __init__(self, codec: SpeexCodec) -> None:
        self._band, self._state = codec.band, _State("encoder", codec.band, speex_library())
        self._state.control(_SET_QUALITY, codec.quality)
        self._state.control(_SET_COMPLEXITY, codec.complexity)
        for off in (_SET_VBR, _SET_VAD, _SET_DTX):
            self._state.control(off, 0)

    def encode(self, frame: Pcm) -> bytes:
        """See `Encoder`."""
        # libspeex may write to its input, so it gets a copy.
        samples = checked_frame(frame, self._band.frame_samples, self._band.title).copy()
        state, library = self._state, self._state.library
        library.speex_bits_reset(state.bits)
        library.speex_encode_int(state.pointer, samples.ctypes.data, state.bits)
        out = ctypes.create_string_buffer(_MOST_PACKET_BYTES)
        size: int = library.speex_bits_write(state.bits, out, _MOST_PACKET_BYTES)
        return out.raw[:size]


class SpeexDecoder(FramewiseDecoder):
    """One decoder with the perceptual enhancer on, of the `plain` copy of libspeex or the system's."""

    def __init__(self, band: Band, *, plain: bool) -> None:
        super().__init__(band.title, band.frame_samples)
        self._problem = f"it has no {band.frame} frame"
        library = speex_library(plain)
        self._state = _State("decoder", band, library)
        self._state.control(_SET_ENHANCER, 1)
        self._read, self._decode = library.speex_bits_read_from, library.speex_decode_int
        self._pointer, self._bits = self._state.pointer, self._state.bits

    def _into(self, frame: bytes, address: int) -> str:
        self._read(self._bits, frame, len(frame))
        return "" if frame and self._decode(self._pointer, self._bits, address) == 0 else self._problem

    def conceal(self) -> Pcm | None:
        """libspeex's own concealment."""
        out = np.empty(self._frame_samples, dtype=np.int16)
        self._decode(self._pointer, None, out.ctypes.data)
        return out


@dataclass(frozen=True)
class SpeexCodec(ABC):
    """A frame every 20 ms. `quality` 0-10 selects the submodes and so the bit rate, which is constant; VAD and DTX in
    the encoder are off."""

    band: ClassVar[Band]
    usual_quality: ClassVar[int]

    quality: int
    complexity: int
    payload_type: int
    name: str
    clock_rate: int
    sample_rate: int
    frame_samples: int
    encoding_name: str = "speex"
    packet_ms: float = 20
    channels: int = 1
    fmtp: str = ""

    @property
    def spec(self) -> str:
        """The name, with the options that are not the default."""
        options = [f"quality={self.quality}"] if self.quality != self.usual_quality else []
        options += [f"complexity={self.complexity}"] if self.complexity != 2 else []
        return specification(self.name, options, self.packet_ms)

    @property
    def lookahead_samples(self) -> int:
        """Encoder's and decoder's look-ahead together."""
        return _lookahead(type(self))

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return SpeexEncoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder with the enhancer on, of the libspeex copy without SSE if it exists."""
        return SpeexDecoder(self.band, plain=PLAIN.exists())

    def split(self, payload: bytes) -> list[bytes]:
        """The frames in a payload, which are packed bit by bit, not byte by byte (RFC 5574 3.2)."""
        return [_terminated(bits, size) for bits, size in self.frames(payload, self._most_frames)]

    def pack(self, frames: Sequence[bytes]) -> bytes:
        """The frames bit by bit, and the terminator after the last (RFC 5574 3.2)."""
        stream = length = 0
        for frame in frames:
            value, left = int.from_bytes(frame, "big"), 8 * len(frame)
            size = self.band.frame_bits(value, left)
            stream, length = stream << size | value >> (left - size), length + size
        return _terminated(stream, length)

    def samples_in(self, payload: bytes) -> int:
        """As many samples for each complete frame; one more frame than are decoded tells that there are too many."""
        return self.frame_samples * sum(1 for _ in self.frames(payload, self._most_frames + 1))

    @property
    def _most_frames(self) -> int:
        return most_frames(self.frame_samples, self.sample_rate)

    def frames(self, payload: bytes, most: int) -> Iterator[tuple[int, int]]:
        """The first `most` frames in a payload: their bits as a number, and how many."""
        payload = payload[: -(-most * self.band.most_bits // 8)]
        left, stream, bits_of = 8 * len(payload), int.from_bytes(payload, "big"), self.band.frame_bits
        for _ in range(most):
            size = bits_of(stream, left)
            if not size:
                return
            left -= size
            yield stream >> left & ((1 << size) - 1), size


def _terminated(bits: int, size: int) -> bytes:
    """A frame of `size` bits as bytes, padded as the manual's terminator requires: a 0 and then 1s."""
    spare = -size % 8
    if spare:
        bits = (bits << spare) | ((1 << (spare - 1)) - 1)
    return bits.to_bytes((size + spare) // 8, "big")


@cache
def _lookahead(codec: type[SpeexCodec]) -> int:
    sides = (_State(side, codec.band, speex_library()) for side in ("encoder", "decoder"))
    return sum(side.control(_GET_LOOKAHEAD) for side in sides)


def speex_of(usual: _Some, options: Mapping[str, float]) -> _Some:
    """The usual codec with `OPTIONS`."""
    quality, complexity = options.get("quality", usual.quality), options.get("complexity", usual.complexity)
    return replace(usual, quality=int(quality), complexity=int(complexity))


def speex_offered(usual: _Some, offer: Offer) -> _Some | None:
    """The codec of an offer, with the quality of most frames; None if it is another codec.

    Where the bytes do not tell, the size of a packet of one frame does.
    """
    if not offer.is_of(usual):
        return None
    qualities, most = usual.band.qualities, most_frames(usual.frame_samples, usual.sample_rate)
    seen = Counter(size for payload in offer.payloads for _, size in usual.frames(payload, most) if size in qualities)
    by_size = {-(-bits // 8): quality for bits, quality in qualities.items()}
    quality = qualities[max(seen, key=seen.__getitem__)] if seen else by_size.get(offer.payload_bytes or 0)
    return offer.numbered(usual if quality is None else replace(usual, quality=quality))
