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
    offered: Callable[[int | None, int | None], Codec] | None = None
    """The codec as another phone offers it, decoded, with this payload type and at this sample rate (None: the usual
    ones); None: as `make` has it without options."""
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
