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
    "gsm": Impairment(20.0, 31.7, f"Ie: {_G113}, GSM 06.10; Bpl: {_OURS}"),
    "speex": Impairment(12.6, 23.2, f"quality 5: {_OURS}"),
    "opus": Impairment(0.0, 17.2, f"24 kbit/s: {_OURS}"),
}
_G711_BARE = Impairment(0.0, 4.3, f"{_G113}: G.711 without packet loss concealment")
_OPUS_FEC = Impairment(2.4, 92.6, f"24 kbit/s with in-band FEC for 5 % loss: {_OURS}")


def impairment(codec_name: str, *, concealed: bool = True) -> Impairment:
    """The factors for a codec named as in our data (`g711u`, `opus:24000,fec=1`); raises `InputError`.

    Of the options only Opus's FEC changes them. `concealed` matters for G.711 alone: G.113 gives both.
    """
    name, _, options = codec_name.lower().partition(":")
    if name not in _CODECS:
        raise InputError("rating with the E-model", codec_name, "no factors are known", "use " + ", ".join(_CODECS))
    if name.startswith("g711") and not concealed:
        return _G711_BARE
    return _OPUS_FEC if name == "opus" and "fec=1" in options.split(",") else _CODECS[name]
