"""What each codec takes off the E-model's rating: Ie, and how well it stands loss: Bpl."""

from __future__ import annotations

from earwitness.errors import InputError
from earwitness.speech.codecs.kind import Impairment
from earwitness.speech.codecs.registry import CODECS, codec, kind_of


class NoFactors(InputError):
    """The E-model's factors of a codec are not known."""

    def __init__(self, codec_name: str) -> None:
        known = ", ".join(kind.name for kind in CODECS.built_in)
        super().__init__("rating with the E-model", codec_name, "no factors are known", f"use {known}")


def impairment(codec_name: str, *, concealed: bool = True) -> Impairment:
    """The factors for a codec named as in our data (`g711u`, `opus:24000,fec=1`).

    Of the options only Opus's FEC changes them. `concealed` matters for G.711 alone: G.113 gives both. Raises
    `NoFactors` for a codec that does not say, `InputError` for one that there is not.
    """
    made = codec(codec_name)
    factors = kind_of(made).impairment
    if factors is None:
        raise NoFactors(codec_name)
    return factors(made, concealed)
