"""The E-model factors of codecs: Ie, the impairment itself, and Bpl, the robustness to loss."""

from __future__ import annotations

from earwitness.errors import InputError
from earwitness.speech.codecs.kind import Impairment
from earwitness.speech.codecs.registry import CODECS, codec, kind_of


class NoFactors(InputError):
    """The E-model's factors of a codec are unknown."""

    def __init__(self, codec_name: str) -> None:
        known = ", ".join(kind.name for kind in CODECS.built_in if kind.impairment is not None)
        super().__init__("rating with the E-model", codec_name, "no factors are known", f"use {known}")


def impairment(codec_name: str, *, concealed: bool = True) -> Impairment:
    """The factors for a codec by its Earwitness name (`g711u`, `opus:24000,fec=1`).

    `concealed` matters only for G.711: G.113 gives both. Raises `NoFactors` for a codec without factors, or without any
    at its bit rate or quality, and `InputError` for an unknown one.
    """
    made = codec(codec_name)
    known = kind_of(made).impairment
    factors = known(made, concealed) if known is not None else None
    if factors is None:
        raise NoFactors(codec_name)
    return factors
