"""Speex narrowband by libspeex, decoded as by its builds without SSE. Source: the Speex codec manual, RFC 5574.

Distributions' libspeex sums with SSE, four lanes at a time, which changes the last bit of a few samples in a thousand.
The published study's phones used PJSIP's own build without SSE; a copy linked that way at installation
(`tools/build_native.py`) reproduces their recordings exactly.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from earwitness.arrays import Pcm
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder, MalformedFrame, most_frames, ptime_option
from earwitness.speech.codecs.kind import ESTIMATED, CodecKind, Impairment, Offer
from earwitness.speech.codecs.native import checked_frame, declare, load

FRAME_SAMPLES = 160
PLAIN = Path(__file__).parent / "native_code" / "libspeex_plain.so"
"""The copy that sums without SSE; missing if it could not be linked at installation."""

SUBMODE_BITS = {0: 5, 1: 43, 2: 119, 3: 160, 4: 220, 5: 300, 6: 364, 7: 492, 8: 79}
"""Bits in a narrowband frame by submode (Speex manual, table 9.2); mode 15 ends a packet."""

PTIMES = tuple(float(ms) for ms in range(20, 121, 20))
"""Whole frames (RFC 5574 3.2)."""
_MOST_FRAMES = most_frames(FRAME_SAMPLES, 8000)
_MOST_BYTES = -(-_MOST_FRAMES * max(SUBMODE_BITS.values()) // 8)

_SET_ENHANCER, _SET_QUALITY, _SET_COMPLEXITY, _GET_LOOKAHEAD = 0, 4, 16, 39
_SET_VBR, _SET_VAD, _SET_DTX = 12, 30, 34


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


class _SpeexState:
    """One libspeex encoder or decoder state with its bit stream; freed with this object."""

    def __init__(self, side: str, library: ctypes.CDLL) -> None:
        self._library = library
        self._state = getattr(library, f"speex_{side}_init")(library.speex_lib_get_mode(0))
        self._control = getattr(library, f"speex_{side}_ctl")
        bits = self._bits = SpeexBits()
        library.speex_bits_init(bits)
        destroy = getattr(library, f"speex_{side}_destroy")
        weakref.finalize(self, freed, library, destroy, self._state, bits)

    def control(self, request: int, value: int = 0) -> int:
        """Set or get one parameter of the codec state."""
        holder = ctypes.c_int32(value)
        if self._control(self._state, request, holder) != 0:
            raise ValueError(f"libspeex does not know request {request}")
        return holder.value


def freed(library: ctypes.CDLL, destroy: object, state: int, bits: SpeexBits) -> None:
    """Free a coder's state and its bit stream."""
    library.speex_bits_destroy(bits)
    destroy(state)  # type: ignore[operator]


class _SpeexEncoder(_SpeexState):
    def __init__(self, quality: int, complexity: int) -> None:
        super().__init__("encoder", speex_library())
        self.control(_SET_QUALITY, quality)
        self.control(_SET_COMPLEXITY, complexity)
        for off in (_SET_VBR, _SET_VAD, _SET_DTX):
            self.control(off, 0)

    def encode(self, frame: Pcm) -> bytes:
        # libspeex may write to its input, so it gets a copy.
        samples = checked_frame(frame, FRAME_SAMPLES, "Speex").copy()
        self._library.speex_bits_reset(self._bits)
        self._library.speex_encode_int(self._state, samples.ctypes.data, self._bits)
        out = ctypes.create_string_buffer(256)
        size: int = self._library.speex_bits_write(self._bits, out, 256)
        return out.raw[:size]


class SpeexDecoder(_SpeexState):
    """One decoder state, with the perceptual enhancer on; uses the plain copy of libspeex or the system's."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__("decoder", speex_library(plain))
        self.control(_SET_ENHANCER, 1)

    def decode(self, frame: bytes) -> Pcm:
        """See `Decoder`."""
        samples: Pcm = self.decode_many([frame])[0]
        return samples

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        """See `Decoder`."""
        out = np.empty((len(frames), FRAME_SAMPLES), dtype=np.int16)
        library, state, bits, address, stride = self._library, self._state, self._bits, out.ctypes.data, out.strides[0]
        read, decode = library.speex_bits_read_from, library.speex_decode_int
        for index, frame in enumerate(frames):
            read(bits, frame, len(frame))
            if not frame or decode(state, bits, address + index * stride) != 0:
                raise MalformedFrame("Speex", frame, "it has no narrowband frame")
        return out

    def conceal(self) -> Pcm | None:
        """See `Decoder`."""
        out = np.empty(FRAME_SAMPLES, dtype=np.int16)
        self._library.speex_decode_int(self._state, None, out.ctypes.data)
        return out

    def recover(self, next_frame: bytes) -> Pcm | None:
        """Speex has no in-band FEC."""
        return None


@dataclass(frozen=True)
class Speex:
    """Speex narrowband at 8 kHz; one frame for each 20 ms of a packet.

    `quality` 0-10 selects the submode and so the bit rate; 5 gives the 28-byte frames (11 kbit/s) of the published
    study's phone. Constant bit rate; VAD and DTX in the encoder are off.
    """

    quality: int = 5
    complexity: int = 2
    payload_type: int = 97
    name: str = "speex"
    encoding_name: str = "speex"
    clock_rate: int = 8000
    sample_rate: int = 8000
    frame_samples: int = FRAME_SAMPLES
    packet_ms: float = 20
    channels: int = 1
    fmtp: str = ""

    @property
    def spec(self) -> str:
        """`speex`, with the options that are not the default."""
        options = [f"quality={self.quality}"] if self.quality != 5 else []
        options += [f"complexity={self.complexity}"] if self.complexity != 2 else []
        options += ptime_option(self.packet_ms)
        return "speex" + (":" + ",".join(options) if options else "")

    @property
    def lookahead_samples(self) -> int:
        """Encoder's and decoder's look-ahead together."""
        return _lookahead()

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _SpeexEncoder(self.quality, self.complexity)

    def decoder(self) -> Decoder:
        """A new decoder with the enhancer on, using the libspeex copy without SSE if it exists."""
        return SpeexDecoder(plain=PLAIN.exists())

    def split(self, payload: bytes) -> list[bytes]:
        """The narrowband frames in a payload, which are packed bit by bit, not byte by byte (RFC 5574 3.2)."""
        payload = payload[:_MOST_BYTES]
        total, stream = 8 * len(payload), int.from_bytes(payload, "big")
        frames: list[bytes] = []
        at = 0
        while len(frames) < _MOST_FRAMES and (size := _frame_bits(stream, total, at)):
            bits = (stream >> (total - at - size)) & ((1 << size) - 1)
            frames.append(terminated(bits, size))
            at += size
        return frames

    def pack(self, frames: Sequence[bytes]) -> bytes:
        """The frames bit by bit, and the terminator after the last (RFC 5574 3.2)."""
        if len(frames) == 1:
            return frames[0]
        stream, size = 0, 0
        for frame in frames:
            length = SUBMODE_BITS[frame[0] >> 3 & 15]
            stream = (stream << length) | (int.from_bytes(frame, "big") >> (8 * len(frame) - length))
            size += length
        return terminated(stream, size)

    def samples_in(self, payload: bytes) -> int:
        """160 for each complete narrowband frame."""
        if payload and 0 <= 8 * len(payload) - SUBMODE_BITS.get(payload[0] >> 3, 0) < 5:
            return FRAME_SAMPLES  # the usual case
        payload = payload[: 2 * _MOST_BYTES]
        total, stream = 8 * len(payload), int.from_bytes(payload, "big")
        count = at = 0
        while count <= _MOST_FRAMES and (size := _frame_bits(stream, total, at)):
            count, at = count + 1, at + size
        return count * FRAME_SAMPLES


def _frame_bits(stream: int, total: int, at: int) -> int:
    """Bits in the frame that begins at bit `at` of `total`; 0 if none does."""
    if total - at < 5:
        return 0
    head = (stream >> (total - at - 5)) & 31
    size = SUBMODE_BITS.get(head, 0)
    return size if at + size <= total else 0


def terminated(bits: int, size: int) -> bytes:
    """A frame of `size` bits as bytes, padded as the manual's terminator requires: a 0 and then 1s."""
    spare = -size % 8
    if spare:
        bits = (bits << spare) | ((1 << (spare - 1)) - 1)
    return bits.to_bytes((size + spare) // 8, "big")


@lru_cache(maxsize=1)
def _lookahead() -> int:
    return sum(_SpeexState(side, speex_library()).control(_GET_LOOKAHEAD) for side in ("encoder", "decoder"))


def _make(options: Mapping[str, float]) -> Speex:
    return Speex(int(options.get("quality", Speex.quality)), int(options.get("complexity", Speex.complexity)))


def _offered(offer: Offer) -> Speex | None:
    if not offer.is_of(Speex()):
        return None
    return Speex() if offer.payload_type is None else Speex(payload_type=offer.payload_type)


_IMPAIRMENT = Impairment(12.6, 23.2, f"quality 5: {ESTIMATED}")

SPEEX = CodecKind(
    name="speex",
    summary="Speex narrowband, 11 kbit/s at quality 5",
    usage="speex[:QUALITY][,complexity=0-10]",
    make=_make,
    look=Look("Speex", "purple", "dotted", "diamond", "crosses"),
    options=(Option("quality", range(11), bare=True), Option("complexity", range(11))),
    impairment=lambda _codec, _concealed: _IMPAIRMENT,
    offered=_offered,
    encoding_takes_ns=400_000,
    ptimes=PTIMES,
    has_own_concealment=True,
)
