"""iLBC, 15.2 or 13.33 kbit/s, decoded by ffmpeg (PyAV). Source: RFC 3951 (codec), RFC 3952 (RTP payload).

ffmpeg's decoder has neither the codec's enhancer nor its packet loss concealment. It has no delay, and clean speech
scores 0.2 to 0.25 MOS-LQO below that of libilbc's. Debian has no libilbc; where a system has it, it encodes.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

from earwitness.arrays import Pcm
from earwitness.extras import need
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder
from earwitness.speech.codecs.framewise import (
    FramewiseDecoder,
    check_whole_frames,
    cut_whole,
    specification,
    whole_frames,
)
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

FRAME_BYTES = {20: 38, 30: 50}
"""Bytes in a frame by its ms. No payload that is decoded is a multiple of both."""
_BIT_RATE = {20: 15200, 30: 13333}
_EMPTY = 0x01
"""The last bit of a frame: set, the frame is none (RFC 3951 3.8)."""
_STARTS = {20: (20, 2, 3), 30: (40, 3, 5)}
"""Where the position of the start state is in a frame, its bits, and its largest value (RFC 3951 table 3.2)."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load(
        "libilbc.so.3", "choose another codec for calls: Debian has no package of it, and only decoding iLBC needs none"
    )
    pointer, number, size = ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t
    declare(library, "WebRtcIlbcfix_EncoderCreate", number, ctypes.POINTER(pointer))
    declare(library, "WebRtcIlbcfix_EncoderInit", number, pointer, number)
    declare(library, "WebRtcIlbcfix_Encode", ctypes.c_int, pointer, pointer, size, ctypes.c_char_p)
    declare(library, "WebRtcIlbcfix_EncoderFree", number, pointer)
    return library


class _IlbcEncoder:
    """One libilbc encoder, freed with this object."""

    def __init__(self, codec: Ilbc) -> None:
        self._library, self._codec = _library(), codec
        state = ctypes.c_void_p()
        self._library.WebRtcIlbcfix_EncoderCreate(ctypes.byref(state))
        self._state = owned(self, state.value, self._library.WebRtcIlbcfix_EncoderFree)
        self._library.WebRtcIlbcfix_EncoderInit(self._state, codec.frame_ms)

    def encode(self, frame: Pcm) -> bytes:
        samples = checked_frame(frame, self._codec.frame_samples, "iLBC")
        out = ctypes.create_string_buffer(self._codec.frame_bytes)
        self._library.WebRtcIlbcfix_Encode(self._state, samples.ctypes.data, len(samples), out)
        return out.raw


class _IlbcDecoder(FramewiseDecoder):
    """One ffmpeg decoder."""

    def __init__(self, codec: Ilbc) -> None:
        need("codecs", tried="decoding", on="iLBC")
        from av import AudioCodecContext, CodecContext, Packet

        super().__init__("iLBC", codec.frame_samples)
        self._frame_bytes, self._packet, self._start = codec.frame_bytes, Packet, _STARTS[codec.frame_ms]
        context = CodecContext.create("ilbc", "r")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate, context.layout = codec.sample_rate, "mono"
        context.bit_rate = _BIT_RATE[codec.frame_ms]  # by this it knows the length of its frames
        self._context = context

    def _into(self, frame: bytes, address: int) -> str:
        if len(frame) != self._frame_bytes:
            return f"a frame of {self._frame_samples} samples has {self._frame_bytes} bytes"
        if frame[-1] & _EMPTY:
            return "its last bit marks it as empty"
        # Of such frames ffmpeg makes the sound of the frame before, again and again.
        at, bits, most = self._start
        if not 1 <= int.from_bytes(frame, "big") >> (8 * len(frame) - at - bits) & ((1 << bits) - 1) <= most:
            return "its start state is nowhere in it"
        made = self._context.decode(self._packet(frame))[0].to_ndarray().reshape(-1)
        assert made.nbytes == 2 * self._frame_samples
        ctypes.memmove(address, made.ctypes.data, made.nbytes)
        return ""


@dataclass(frozen=True)
class Ilbc:
    """iLBC at 8 kHz; one frame of `frame_ms` (20 or 30) in a packet."""

    frame_ms: int = 30
    payload_type: int = 104
    packet_ms: int = 30
    name: str = "ilbc"
    encoding_name: str = "iLBC"
    clock_rate: int = 8000
    sample_rate: int = 8000
    channels: int = 1
    lookahead_samples: int = 0

    def __post_init__(self) -> None:
        check_whole_frames(self.name, self.packet_ms, self.frame_ms)

    @property
    def spec(self) -> str:
        """`ilbc`, with 20 if its frames have 20 ms."""
        options = [str(self.frame_ms)] if self.frame_ms != 30 else []
        return specification(self.name, options, self.packet_ms, self.frame_ms)

    @property
    def frame_samples(self) -> int:
        """160 or 240."""
        return self.frame_ms * self.sample_rate // 1000

    @property
    def frame_bytes(self) -> int:
        """38 or 50."""
        return FRAME_BYTES[self.frame_ms]

    @property
    def fmtp(self) -> str:
        """The length of frames (RFC 3952 5)."""
        return f"mode={self.frame_ms}"

    def encoder(self) -> Encoder:
        """A fresh encoder; raises `CodecLibraryMissing` where there is no libilbc."""
        return _IlbcEncoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder; raises `MissingExtra` without PyAV."""
        return _IlbcDecoder(self)

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of 38 or 50 bytes; none if the payload is not a whole number of them, as the other mode's are."""
        return cut_whole(payload, self.frame_bytes, self.frame_samples, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """160 or 240 samples a frame."""
        return self.frame_samples * whole_frames(payload, self.frame_bytes)


def ilbc(frame_ms: int) -> Ilbc:
    """iLBC with one frame of 20 or 30 ms in a packet."""
    return Ilbc(frame_ms, packet_ms=frame_ms)


def _offered(offer: Offer) -> Ilbc | None:
    if not offer.is_of(Ilbc()):
        return None
    # The packets know better than SDP; without either it is 30 ms (RFC 3952 5).
    sizes = [ms for ms, size in FRAME_BYTES.items() if offer.payload_bytes and offer.payload_bytes % size == 0]
    said = 20 if offer.parameter("mode") == "20" else 30
    return offer.numbered(ilbc(sizes[0] if len(sizes) == 1 else said))


ILBC_KIND = CodecKind(
    name="ilbc",
    summary="iLBC, frames of 30 ms (13.33 kbit/s) or 20 ms (15.2 kbit/s), whole ones in a packet; encodes with libilbc",
    usage="ilbc[:20|30]",
    make=lambda options: ilbc(int(options.get("ms", 30))),
    look=Look("iLBC", "vermilion", "long", "diamond", "bars"),
    options=(Option("ms", tuple(FRAME_BYTES), bare=True),),
    offered=_offered,
    encoding_takes_ns=1_000_000,
    ptimes=(20.0, 30.0, 40.0, 60.0, 80.0, 90.0, 100.0, 120.0),
)
