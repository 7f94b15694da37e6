"""What AMR and AMR-WB have in common beside their payload format: frames of 20 ms, modes, and two packings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from earwitness.options import Option
from earwitness.speech.codecs.amr_payload import FrameTypes, octet_aligned
from earwitness.speech.codecs.base import Decoder, Encoder
from earwitness.speech.codecs.framewise import packet_times, specification
from earwitness.speech.codecs.kind import Offer

PTIMES = packet_times(20, 120, 20)
_Some = TypeVar("_Some", bound="AmrCodec")


@dataclass(frozen=True)
class AmrCodec(ABC):
    """A frame every 20 ms. `kbps`: the mode that is sent, one of `modes`; all are decoded.

    `octet_aligned`: the packing that is sent, and that of payloads which could have either.
    """

    frame_types: ClassVar[FrameTypes]
    modes: ClassVar[tuple[float, ...]]
    usual_kbps: ClassVar[float]

    kbps: float
    payload_type: int
    name: str
    encoding_name: str
    clock_rate: int
    sample_rate: int
    frame_samples: int
    lookahead_samples: int
    octet_aligned: bool = False
    packet_ms: int = 20
    channels: int = 1

    @property
    def mode(self) -> int:
        """The frame type of the mode that is sent."""
        return self.modes.index(self.kbps)

    @property
    def spec(self) -> str:
        """The name, with the options that are not the default."""
        options = [f"{self.kbps:g}"] if self.kbps != self.usual_kbps else []
        options += ["octet=1"] if self.octet_aligned else []
        return specification(self.name, options, self.packet_ms)

    @property
    def fmtp(self) -> str:
        """The packing, if it is not RFC 4867's default."""
        return "octet-align=1" if self.octet_aligned else ""

    @abstractmethod
    def encoder(self) -> Encoder:
        """A fresh encoder."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A fresh decoder."""

    def split(self, payload: bytes) -> list[bytes]:
        """The frames of 20 ms, in either packing: speech, silence descriptors, and those without data."""
        return self.frame_types.frames(payload, octet_aligned=self.octet_aligned)

    def pack(self, frames: Sequence[bytes]) -> bytes:
        """One payload with these frames, which asks for no other mode."""
        return self.frame_types.payload(frames, octet_aligned=self.octet_aligned)

    def samples_in(self, payload: bytes) -> int:
        """As many samples a frame, of whatever type; one more frame than are decoded tells that there are too many."""
        return self.frame_samples * self.frame_types.count(payload, octet_aligned=self.octet_aligned)


def options_of(usual: AmrCodec) -> tuple[Option, ...]:
    """What may be said about a codec by name."""
    return (Option("kbps", usual.modes, bare=True), Option("octet", (0, 1)))


def made(usual: _Some, options: Mapping[str, float]) -> _Some:
    """The usual codec with `options_of` it."""
    return replace(usual, kbps=float(options.get("kbps", usual.kbps)), octet_aligned=bool(options.get("octet", 0)))


def offered(usual: _Some, offer: Offer) -> _Some | None:
    """The codec as SDP describes it, in the mode that its packets show; None if that is another codec. Raises
    `InputError` (`octet_aligned`)."""
    if not offer.is_of(usual):
        return None
    codec = replace(usual, octet_aligned=octet_aligned(offer))
    return offer.numbered(replace(codec, kbps=codec.modes[_mode(codec, offer)]))


def _mode(codec: AmrCodec, offer: Offer) -> int:
    """The mode of most frames; without any, the only one that a payload of this size or SDP permits, or the usual."""
    frames = (frame for payload in offer.payloads for frame in codec.split(payload))
    seen = Counter(kind for frame in frames if (kind := frame[0] >> 3 & 15) < len(codec.modes))
    if seen:
        return max(seen, key=lambda kind: (seen[kind], kind))
    permitted = _mode_set(codec, offer)
    for packings in ((codec.octet_aligned,), (False, True)):
        fits = codec.frame_types.modes_of(offer.payload_bytes or 0, packings)
        if len(one := permitted & fits) == 1:
            return one.pop()
    return permitted.pop() if len(permitted) == 1 else codec.mode


def _mode_set(codec: AmrCodec, offer: Offer) -> set[int]:
    """The modes that SDP permits (RFC 4867 8.1); all, if it says nothing that can be read."""
    every = set(range(len(codec.modes)))
    said = {word.strip() for word in (offer.parameter("mode-set") or "").split(",")}
    return {mode for mode in every if str(mode) in said} or every
