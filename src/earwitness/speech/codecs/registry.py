"""Codecs by name: from what a user writes (`opus:24000,fec=1`), and from what SDP or a payload type says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.g711 import G711
from earwitness.speech.codecs.gsm import Gsm
from earwitness.speech.codecs.opus import SAMPLE_RATES, Opus
from earwitness.speech.codecs.speex import Speex

CODEC_NAMES = ("g711u", "g711a", "gsm", "speex", "opus")

USAGE = (
    "use one of: g711u, g711a, gsm, speex[:QUALITY][,complexity=0-10],"
    " opus[:BITRATE][,fec=0|1][,complexity=0-10][,loss=0-100][,rate=" + "|".join(map(str, SAMPLE_RATES)) + "]"
)

_Ranges = Mapping[str, tuple[int, ...] | range]

_OPTIONS: dict[str, tuple[str, _Ranges]] = {
    "g711u": ("", {}),
    "g711a": ("", {}),
    "gsm": ("", {}),
    "speex": ("quality", {"quality": range(11), "complexity": range(11)}),
    "opus": (
        "bitrate",
        {
            "bitrate": range(6000, 510001),
            "fec": (0, 1),
            "complexity": range(11),
            "loss": range(101),
            "rate": SAMPLE_RATES,
        },
    ),
}
"""Codec -> which option a bare value sets, and the values that each option permits."""


def codec(spec: str) -> Codec:
    """The codec that `spec` asks for; raises `InputError` that names the valid ones.

    `spec` is a name, then after a colon comma-separated `option=value`; the first may be a bare number (Opus:
    bit/s, Speex: quality). `opus:24000,fec=1,complexity=5,loss=10,rate=16000`.
    """
    name, _, rest = spec.strip().lower().partition(":")
    if name not in _OPTIONS:
        raise InputError("using the codec", repr(spec), "no codec has that name", USAGE)
    options = _parse_options(spec, name, rest)
    builders: dict[str, Callable[[], Codec]] = {
        "g711u": lambda: G711("u"),
        "g711a": lambda: G711("a"),
        "gsm": Gsm,
        "speex": lambda: Speex(quality=options.get("quality", 5), complexity=options.get("complexity", 2)),
        "opus": lambda: Opus(
            bitrate=options.get("bitrate", 24000),
            fec=bool(options.get("fec", 0)),
            complexity=options.get("complexity", 9),
            expected_loss_percent=options.get("loss", 0),
            sample_rate=options.get("rate", 8000),
        ),
    }
    return builders[name]()


def _parse_options(spec: str, name: str, rest: str) -> dict[str, int]:
    bare, permitted = _OPTIONS[name]
    options: dict[str, int] = {}
    for position, part in enumerate(filter(None, rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and position == 0 and bare:
            key, value = bare, key
        if key not in permitted:
            raise InputError("using the codec", repr(spec), f"{name} has no option {key!r}", USAGE, field=key)
        if not value.isascii() or not value.isdigit() or int(value) not in permitted[key]:
            raise InputError("using the codec", repr(spec), f"{key} cannot be {value!r}", USAGE, field=key)
        options[key] = int(value)
    return options


def codec_from_rtpmap(
    encoding_name: str,
    clock_rate: int | None = None,
    payload_type: int | None = None,
    *,
    sample_rate: int | None = None,
) -> Codec:
    """The codec of an SDP `rtpmap` (names are case-insensitive, RFC 8866 6.6); raises `InputError`.

    With an empty `encoding_name` the static payload types 0, 3 and 8 are known (RFC 3551 table 4). The codec
    keeps `payload_type`. `sample_rate` is the rate to decode Opus at (8,000 unless told).
    """
    found = _by_encoding_name(encoding_name, payload_type)
    if found is None or (clock_rate is not None and clock_rate != found.clock_rate):
        raise InputError(
            "finding the codec of",
            f"rtpmap {encoding_name or '-'}/{clock_rate or '-'} payload type {payload_type}",
            "not a codec that this program decodes",
            "known are PCMU/8000, PCMA/8000, GSM/8000, speex/8000, opus/48000; name the {codec}",
            related=("codec",),
        )
    if isinstance(found, Opus) and sample_rate is not None:
        found = replace(found, sample_rate=sample_rate)
    if isinstance(found, Opus | Speex) and payload_type is not None:
        found = replace(found, payload_type=payload_type)
    return found


def _by_encoding_name(encoding_name: str, payload_type: int | None) -> G711 | Gsm | Speex | Opus | None:
    known: tuple[G711 | Gsm | Speex | Opus, ...] = (G711("u"), G711("a"), Gsm(), Speex(), Opus())
    for one in known:
        if encoding_name and one.encoding_name.lower() == encoding_name.lower():
            return one
        if not encoding_name and one.payload_type == payload_type and payload_type < 96:
            return one
    return None
