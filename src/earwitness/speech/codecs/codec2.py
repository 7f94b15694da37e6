"""Codec2, 700 to 3,200 bit/s, by libcodec2. Source: its manual; its RTP payload is no standard.

Packets are taken as Asterisk and FreeSWITCH send them: whole frames, each padded to whole bytes.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Decoder, Encoder
from earwitness.speech.codecs.framewise import (
    FramewiseDecoder,
    check_whole_frames,
    cut_whole,
    packet_times,
    specification,
    whole_frames,
)
from earwitness.speech.codecs.kind import CodecKind, Offer
from earwitness.speech.codecs.native import checked_frame, declare, load, owned

_NUMBERS = {3200: 0, 2400: 1, 1600: 2, 1400: 3, 1300: 4, 1200: 5, 700: 8}
MODES = tuple(_NUMBERS)
"""Bit rates; 700 is mode 700C."""
_FRAME_MS = {3200: 20, 2400: 20}
_LONG_FRAME_MS = 40
_BY_BYTES = {6: 2400, 8: 3200, 7: 1300, 4: 700}
"""The usual mode of a packet of one frame. Modes 1600, 1400 and 1200 have sizes of others, and are not
found by size."""
_MULTIPLIER, _INCREMENT = 1103515245, 12345


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load("libcodec2.so.1.0", "apt-get install libcodec2-1.0")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    declare(library, "codec2_create", pointer, number)
    declare(library, "codec2_destroy", None, pointer)
    declare(library, "codec2_encode", None, pointer, ctypes.c_char_p, ctypes.c_void_p)
    declare(library, "codec2_decode", None, pointer, ctypes.c_void_p, ctypes.c_char_p)
    declare(library, "codec2_rand", number)
    return library


@lru_cache(maxsize=1)
def _chance() -> ctypes.c_uint64 | None:
    """The state of the library's random numbers, which all its decoders share; None if it is not found.

    The phases of unvoiced speech are random. Each decoder here has a state of its own, so that one stream does not
    change the sound of another. The variable is found in the library's data as what codec2_rand changes in its way.
    """
    library = _library()
    steps = []
    areas = _writable_areas("libcodec2")
    for _ in range(2):
        before = [np.array(area) for area in areas]
        drawn = library.codec2_rand()
        steps.append(
            [
                set(np.flatnonzero((then * np.uint64(_MULTIPLIER) + np.uint64(_INCREMENT) == area) & (then != area)))
                for then, area in zip(before, areas, strict=True)
            ]
        )
    found = [(area, at) for area, one, other in zip(areas, *steps, strict=True) for at in one & other]
    if len(found) != 1:
        return None
    area, at = found[0]
    state = ctypes.c_uint64.from_address(area.ctypes.data + 8 * int(at))
    return state if state.value >> 16 & 0x7FFF == drawn else None


def _writable_areas(library: str) -> list[NDArray[np.uint64]]:
    """The writable data of a loaded library, as it is in memory."""
    areas = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if library in line and (match := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)):
            begin, end = (int(group, 16) for group in match.groups())
            areas.append(np.ctypeslib.as_array((ctypes.c_uint64 * ((end - begin) // 8)).from_address(begin)))
    return areas


class _Codec2Encoder:
    """One encoder, freed with this object."""

    def __init__(self, codec: Codec2) -> None:
        self._library, self._codec = _library(), codec
        self._state = owned(self, self._library.codec2_create(_NUMBERS[codec.mode]), self._library.codec2_destroy)

    def encode(self, frame: Pcm) -> bytes:
        # It takes its input as writable, so it gets a copy.
        samples = checked_frame(frame, self._codec.frame_samples, "Codec2").copy()
        out = ctypes.create_string_buffer(self._codec.frame_bytes)
        self._library.codec2_encode(self._state, out, samples.ctypes.data)
        return out.raw


class _Codec2Decoder(FramewiseDecoder):
    """One decoder with its own random numbers, freed with this object."""

    def __init__(self, codec: Codec2) -> None:
        super().__init__("Codec2", codec.frame_samples)
        self._library, self._frame_bytes = _library(), codec.frame_bytes
        self._state = owned(self, self._library.codec2_create(_NUMBERS[codec.mode]), self._library.codec2_destroy)
        self._chance, self._number = _chance(), 1

    def _into(self, frame: bytes, address: int) -> str:
        if len(frame) != self._frame_bytes:
            return f"a frame of {self._frame_samples} samples has {self._frame_bytes} bytes"
        if self._chance is not None:
            self._chance.value = self._number
        self._library.codec2_decode(self._state, address, frame)
        if self._chance is not None:
            self._number = self._chance.value
        return ""


@dataclass(frozen=True)
class Codec2:
    """Codec2 at 8 kHz; one frame in a packet, of 20 ms in modes 3200 and 2400, otherwise of 40 ms."""

    mode: int = 2400
    payload_type: int = 109
    packet_ms: int = 20
    name: str = "codec2"
    encoding_name: str = "CODEC2"
    clock_rate: int = 8000
    sample_rate: int = 8000
    channels: int = 1

    def __post_init__(self) -> None:
        check_whole_frames(self.name, self.packet_ms, frame_ms(self.mode))

    @property
    def spec(self) -> str:
        """`codec2`, with the mode if it is not 2400."""
        options = [str(self.mode)] if self.mode != 2400 else []
        return specification(self.name, options, self.packet_ms, frame_ms(self.mode))

    @property
    def fmtp(self) -> str:
        """The mode, as FreeSWITCH writes it."""
        return f"mode={self.mode}"

    @property
    def lookahead_samples(self) -> int:
        """As measured between the envelopes: waveforms are not kept."""
        return 220 if self.mode == 700 else 140

    @property
    def frame_samples(self) -> int:
        """160 or 320."""
        return frame_ms(self.mode) * self.sample_rate // 1000

    @property
    def frame_bytes(self) -> int:
        """Bytes in a frame, of which the last may be filled in part."""
        return -(-self.mode * frame_ms(self.mode) // 8000)

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _Codec2Encoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _Codec2Decoder(self)

    def split(self, payload: bytes) -> list[bytes]:
        """Frames of the mode's bytes; none if the payload is not a whole number of them, as other modes' are."""
        return cut_whole(payload, self.frame_bytes, self.frame_samples, self.sample_rate)

    def samples_in(self, payload: bytes) -> int:
        """160 or 320 samples a frame."""
        return self.frame_samples * whole_frames(payload, self.frame_bytes)


def frame_ms(mode: int) -> int:
    """The length of a frame."""
    return _FRAME_MS.get(mode, _LONG_FRAME_MS)


def codec2(mode: int, payload_type: int = Codec2.payload_type) -> Codec2:
    """Codec2 in this mode, with one frame in a packet."""
    return Codec2(mode, payload_type, frame_ms(mode))


def _offered(offer: Offer) -> Codec2 | None:
    if not offer.is_of(Codec2()):
        return None
    said = offer.parameter("mode") or offer.parameter("bitrate") or ""
    if said in map(str, MODES):
        mode = int(said)
    elif offer.payload_bytes is None:
        mode = Codec2.mode
    elif offer.payload_bytes in _BY_BYTES:
        mode = _BY_BYTES[offer.payload_bytes]
    else:
        raise InputError(
            "decoding",
            "Codec2",
            f"SDP says no mode, and its packets of {offer.payload_bytes} bytes may be of several",
            "name its mode: {codec} " + ", ".join(f"codec2:{mode}" for mode in MODES),
            related=("codec",),
        )
    return offer.numbered(codec2(mode))


CODEC2_KIND = CodecKind(
    name="codec2",
    summary="Codec2, 2400 bit/s, or the mode given; packets of whole frames",
    usage="codec2[:" + "|".join(map(str, MODES)) + "]",
    make=lambda options: codec2(int(options.get("mode", 2400))),
    look=Look("Codec2", "purple", "dash-dot", "cross", "backslashes"),
    options=(Option("mode", MODES, bare=True),),
    offered=_offered,
    encoding_takes_ns=1_000_000,
    ptimes=packet_times(20, 120, 20),
)
