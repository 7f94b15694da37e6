"""What is registered of a codec: everything that the rest of the program needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Codec


@dataclass(frozen=True)
class Impairment:
    """What a codec takes off the E-model's rating (ITU-T G.107, G.113)."""

    ie: float
    """Equipment impairment without loss."""
    bpl: float
    """Packet-loss robustness."""
    source: str
    """Where the figures come from."""


ESTIMATED = "estimate by PESQ after the method of ITU-T P.834 (tools/derive_impairments.py); not an ITU value"
"""Source of the factors that G.113 does not have."""


@dataclass(frozen=True)
class Offer:
    """A codec as SDP's `rtpmap` and `m=` lines describe it, as far as they do."""

    encoding_name: str
    """Empty: known by its payload type alone."""
    clock_rate: int | None = None
    payload_type: int | None = None
    sample_rate: int | None = None
    """Rate to decode at, Hz, where it is not the clock's."""

    def is_of(self, codec: Codec) -> bool:
        """Whether this is the codec: by its encoding's name, in whatever case (RFC 8866 6.6), else its static payload
        type (RFC 3551 table 4); and by its clock."""
        if self.clock_rate not in (None, codec.clock_rate):
            return False
        if self.encoding_name:
            return self.encoding_name.lower() == codec.encoding_name.lower()
        return self.payload_type is not None and self.payload_type < 96 and self.payload_type == codec.payload_type


@dataclass(frozen=True, kw_only=True)
class CodecKind:
    """A codec by name, with its options, its RTP facts and how it looks in reports."""

    name: str
    """As in our data: `g711u`, `opus`."""
    summary: str
    usage: str
    make: Callable[[Mapping[str, float]], Codec]
    """The codec with these options, of which those that were not given are missing."""
    look: Look
    options: tuple[Option, ...] = ()
    impairment: Callable[[Codec, bool], Impairment] | None = None
    """The E-model's factors of a codec of this kind, with or without concealment of losses; None: not known."""
    offered: Callable[[Offer], Codec | None] | None = None
    """The codec that another phone's SDP, or the payload type of its packets, offers; the function gives None where
    that is no codec of this kind. Without: the one without options, where the offer is of it (`Offer.is_of`)."""
    most_payload: Callable[[Codec], int] | None = None
    """The largest payload of a packet in bytes, or its mean where that varies; None: as of `encode_packets`."""
    encoding_takes_ns: int = 0
    """What a phone needs on the study's machines to encode a frame (see `earwitness.ear.clock`)."""
    has_own_concealment: bool = False
    """Its decoder makes up missing frames by itself."""
    held_back_by_pjmedia: bool = False
    """PJMEDIA hands its frames on one frame late, to recover a lost one from its successor."""
    remade_as: str = ""
    """Specification with which packets that a snap length cut are made again; empty: the stream's own codec."""
