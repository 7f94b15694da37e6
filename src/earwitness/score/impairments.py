"""What each codec takes off the E-model's rating: Ie, and how well it stands loss: Bpl."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.errors import InputError

_G113 = "ITU-T G.113 Appendix I"
_OURS = "estimate by PESQ after the method of ITU-T P.834 (tools/derive_impairments.py); not an ITU value"


@dataclass(frozen=True)
class Impairment:
    """`ie` without loss; `bpl` the packet-loss robustness; where each comes from."""

    ie: float
    bpl: float
    source: str


_CODECS: dict[str, Impairment] = {
    "g711u": Impairment(0.0, 25.1, f"{_G113}: G.711 with packet loss concealment"),
    "g711a": Impairment(0.0, 25.1, f"{_G113}: G.711 with packet loss concealment"),
    "gsm": Impairment(20.0, 10.0, f"Ie: {_G113}, GSM 06.10; Bpl: {_OURS}"),
    "speex": Impairment(12.0, 15.0, _OURS),
    "opus": Impairment(0.0, 20.0, _OURS),
}
_G711_BARE = Impairment(0.0, 4.3, f"{_G113}: G.711 without packet loss concealment")


def impairment(codec_name: str, *, concealed: bool = True) -> Impairment:
    """The factors for `g711u`, `g711a`, `gsm`, `speex` or `opus`; options after a colon are ignored."""
    name = codec_name.partition(":")[0].lower()
    if name not in _CODECS:
        raise InputError(
            "rate with the E-model", codec_name, "no impairment factors known", "use " + ", ".join(_CODECS)
        )
    return _G711_BARE if name.startswith("g711") and not concealed else _CODECS[name]
