"""The registration record of a codec: everything that the rest of the program needs to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Codec

_Some = TypeVar("_Some", bound=Codec)


@dataclass(frozen=True)
class Impairment:
    """A codec's deductions from the E-model's rating (ITU-T G.107, G.113)."""

    ie: float
    """Equipment impairment without loss."""
    bpl: float
    """Packet-loss robustness."""
    source: str
    """Source of the figures."""


ESTIMATED = "estimate by PESQ after the method of ITU-T P.834 (tools/derive_impairments.py); not an ITU value"
"""Source of the factors missing in G.113."""


@dataclass(frozen=True)
class Offer:
    """A codec as described by SDP's `rtpmap` and `m=` lines, as far as they go, and as its packets show it."""

    encoding_name: str
    """Empty: known only by its payload type."""
    clock_rate: int | None = None
    payload_type: int | None = None
    sample_rate: int | None = None
    """Rate to decode at, Hz, if it is not the clock's."""
    fmtp: str = ""
    """Format parameters: `octet-align=1; mode-set=0,2`."""
    payload_bytes: int | None = None
    """The usual size of a payload, where it decides what `fmtp` leaves open (iLBC's mode)."""
    channels: int | None = None
    """Channels; None: not said, which means one."""
    payloads: tuple[bytes, ...] = ()
    """Some of its payloads, for codecs whose bytes tell how they were encoded. Each has its full size: what a snap
    length cut is 0."""

    def parameter(self, name: str) -> str | None:
        """The value of a format parameter, ignoring case (RFC 8866 6.15); None if it is not given."""
        for part in self.fmtp.split(";"):
            key, _, value = part.partition("=")
            if key.strip().lower() == name:
                return value.strip().lower()
        return None

    def numbered(self, codec: _Some) -> _Some:
        """The codec with the payload type of the offer, if that has one."""
        if self.payload_type is None:
            return codec
        numbered: _Some = replace(codec, payload_type=self.payload_type)  # type: ignore[type-var]
        return numbered

    def is_of(self, codec: Codec) -> bool:
        """Whether this is the codec: by its encoding name, ignoring case (RFC 8866 6.6), otherwise by its static
        payload type (RFC 3551 table 4); and by its clock."""
        if self.clock_rate not in (None, codec.clock_rate):
            return False
        if self.encoding_name:
            return self.encoding_name.lower() == codec.encoding_name.lower()
        return self.payload_type is not None and self.payload_type < 96 and self.payload_type == codec.payload_type


@dataclass(frozen=True, kw_only=True)
class CodecKind:
    """A codec by name, with its options, its RTP properties and its look in reports."""

    name: str
    """Earwitness's name: `g711u`, `opus`."""
    summary: str
    usage: str
    """The name with its options, except `ptime`."""
    make: Callable[[Mapping[str, float]], Codec]
    """Creates the codec with these options; options that were not given are missing."""
    look: Look
    options: tuple[Option, ...] = ()
    impairment: Callable[[Codec, bool], Impairment | None] | None = None
    """The E-model's factors of a codec of this kind, with or without concealment of losses; None: unknown."""
    offered: Callable[[Offer], Codec | None] | None = None
    """The codec offered by another phone's SDP or by the payload type of its packets, at the bit rate or quality that
    these show; the function returns None if it is not of this kind. Default: the codec without options, if the offer
    matches it (`Offer.is_of`)."""
    most_payload: Callable[[Codec], int] | None = None
    """The largest payload of a packet in bytes, or its mean if that varies; None: that of `encode_packets`."""
    encoding_takes_ns: int = 0
    """Time that a phone on the study's machines needs to encode a frame (see `earwitness.ear.clock`)."""
    has_own_concealment: bool = False
    """Its decoder conceals missing frames by itself."""
    ptimes: tuple[float, ...] = (20.0,)
    """Packet times in ms that its RFC permits, and that its encoder makes."""
    grain: int = 0
    """Samples between which its audio can be cut: `dataclasses.replace(codec, frame_samples=n)` is valid for every
    multiple of it. 0: it cannot be cut."""
    held_back_by_pjmedia: bool = False
    """PJMEDIA plays its frames one frame late, to recover a lost one from its successor."""
    remade_as: str = ""
    """Specification for re-encoding packets cut by a snap length; empty: the stream's own codec."""

    @property
    def usage_with_ptime(self) -> str:
        """The usage with the packet times, which are an option of every codec."""
        if len(self.ptimes) == 1:
            return self.usage
        return f"{self.usage}[{',' if '[' in self.usage else ':'}ptime={self.ptimes[0]:g}-{self.ptimes[-1]:g}]"
