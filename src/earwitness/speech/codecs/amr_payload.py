"""The RTP payload of AMR and AMR-WB. Source: RFC 4867 4.

Two packings are in use, and `octet-align` in SDP tells which: octet-aligned, where everything begins on a byte, and
bandwidth-efficient, where only the payload does. Here a frame stands as in a file (RFC 4867 5.3), the form that the
libraries take: a byte with the frame type and the quality bit, then its bits, padded to whole bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from earwitness.errors import InputError
from earwitness.speech.codecs.base import most_frames
from earwitness.speech.codecs.kind import Offer

FRAME_MS = 20
NO_DATA = 15
_GOOD = 0x04
"""The quality bit in a frame's first byte; without it the frame is damaged (RFC 4867 4.3.2)."""
_MOST_SID_BITS = 40
"""In a silence descriptor; all speech has more."""
_NO_REQUEST = 15
"""Codec mode request: none."""
_MOST_FRAMES = most_frames(FRAME_MS, 1000)
_MOST_READ = 2 * _MOST_FRAMES
"""Frames in the longest payload that is read at all."""


@dataclass(frozen=True)
class FrameTypes:
    """The frame types of one codec: `bits` in a frame by type, from 3GPP TS 26.101 or TS 26.201."""

    name: str
    bits: Mapping[int, int]

    def frame_bytes(self, kind: int) -> int:
        """Bytes of a frame of this type, with the one before it."""
        return 1 + -(-self.bits[kind] // 8)

    def problem(self, frame: bytes) -> str:
        """Why this is no frame; empty if it is one."""
        kind = frame[0] >> 3 & 15 if frame else -1
        if kind not in self.bits:
            return f"frame type {kind} is not one of {self.name}'s" if frame else "it is empty"
        if len(frame) != self.frame_bytes(kind):
            return f"a frame of type {kind} has {self.frame_bytes(kind)} bytes"
        if self.bits[kind] and not frame[0] & _GOOD:
            return "its quality bit says that it was damaged on the way"
        return ""

    def frames(self, payload: bytes, *, octet_aligned: bool, most: int = _MOST_FRAMES) -> list[bytes]:
        """The first `most` frames in a payload; none if it cannot be one, or has more than 30.

        The table of contents gives the length to the byte. If it contradicts `octet_aligned`, or bits that have to be 0
        are not, and the other packing fits, the payload has that one: SDP is often wrong about it.
        """
        packings = (_Aligned(), _Dense()) if octet_aligned else (_Dense(), _Aligned())
        possible = [found for packing in packings if (found := self._unpacked(payload, packing)) is not None]
        likely = [frames for frames, clean in possible if clean] + [frames for frames, _ in possible]
        return likely[0][:most] if likely else []

    def count(self, payload: bytes, *, octet_aligned: bool) -> int:
        """The frames in a payload, which may be one more than are decoded: it claims to hold too many."""
        return len(self.frames(payload, octet_aligned=octet_aligned, most=_MOST_FRAMES + 1))

    def modes_of(self, size: int, octet_aligned: Sequence[bool]) -> set[int]:
        """The types of speech of which frames, as few as possible, fill a payload of `size` bytes in these packings."""
        packings = [_Aligned() if aligned else _Dense() for aligned in octet_aligned]
        speech = {kind: bits for kind, bits in self.bits.items() if bits > _MOST_SID_BITS}
        for count in range(1, _MOST_FRAMES + 1):
            fits = {kind for kind, bits in speech.items() if size in (one.size(count, bits) for one in packings)}
            if fits:
                return fits
        return set()

    def payload(self, frames: Sequence[bytes], *, octet_aligned: bool) -> bytes:
        """A payload with these frames, without a mode request."""
        packing = _Aligned() if octet_aligned else _Dense()
        stream, length = _NO_REQUEST << (packing.request_bits - 4), packing.request_bits
        for left, frame in zip(reversed(range(len(frames))), frames, strict=True):
            entry = (left > 0) << 5 | frame[0] >> 2 & 31
            stream = stream << packing.entry_bits | entry << (packing.entry_bits - 6)
            length += packing.entry_bits
        for frame in frames:
            size, spare = self.bits[frame[0] >> 3 & 15], 8 * len(frame) - 8
            body = int.from_bytes(frame[1:], "big") >> (spare - size)
            taken = packing.padded(size)
            stream = stream << taken | body << (taken - size)
            length += taken
        return (stream << (-length % 8)).to_bytes(-(-length // 8), "big")

    def _unpacked(self, payload: bytes, packing: _Packing) -> tuple[list[bytes], bool] | None:
        """The frames in a payload of this packing, and whether all its padding is 0; None if its length is wrong."""
        if len(payload) > packing.size(_MOST_READ, max(self.bits.values())):
            return None
        total, stream = 8 * len(payload), int.from_bytes(payload, "big")

        def bits(at: int, count: int) -> int:
            return stream >> (total - at - count) & ((1 << count) - 1)

        at, more, heads = packing.request_bits, True, list[int]()
        if at > total:
            return None
        padding = bits(4, at - 4)
        while more:
            if at + packing.entry_bits > total or len(heads) == _MOST_READ:
                return None
            entry, spare = divmod(bits(at, packing.entry_bits), 1 << (packing.entry_bits - 6))
            if entry >> 1 & 15 not in self.bits:
                return None
            heads.append(entry & 31)
            padding |= spare
            more = bool(entry >> 5)
            at += packing.entry_bits
        frames = []
        for head in heads:
            size, taken = self.bits[head >> 1], packing.padded(self.bits[head >> 1])
            if at + taken > total:
                return None
            body = bits(at, size) << (-size % 8)
            padding |= bits(at + size, taken - size)
            frames.append(bytes((head << 2,)) + body.to_bytes(-(-size // 8), "big"))
            at += taken
        if total - at >= 8:
            return None
        return frames, not padding | bits(at, total - at)


class _Packing(ABC):
    """Bits of the mode request and of an entry of the table of contents, whose last two are padding if it has 8."""

    request_bits: int
    entry_bits: int

    def size(self, count: int, bits: int) -> int:
        """Bytes of a payload with so many frames of `bits` bits."""
        return -(-(self.request_bits + count * (self.entry_bits + self.padded(bits))) // 8)

    @abstractmethod
    def padded(self, size: int) -> int:
        """Bits that a frame of `size` bits takes."""


class _Aligned(_Packing):
    request_bits = entry_bits = 8

    def padded(self, size: int) -> int:
        return size + -size % 8


class _Dense(_Packing):
    request_bits, entry_bits = 4, 6

    def padded(self, size: int) -> int:
        return size


def octet_aligned(offer: Offer) -> bool:
    """The packing that an offer describes.

    Raises `InputError` for what is not decoded: interleaving, frames with checksums or sorted bits.
    """
    names = ("interleaving", "crc", "robust-sorting")
    refused = [f"{name}={value}" for name in names if (value := offer.parameter(name)) not in (None, "0")]
    if refused:
        raise InputError(
            "decoding",
            f"{offer.encoding_name} with {', '.join(refused)}",
            "these forms of RFC 4867 are not decoded",
            "capture a call that is set up without them",
            related=("codec",),
        )
    return offer.parameter("octet-align") == "1"
