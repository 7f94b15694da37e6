"""Jitter buffers by name, as on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from earwitness.ear.adaptive import Adaptive
from earwitness.ear.base import JitterBuffer
from earwitness.ear.fixed import Fixed
from earwitness.ear.oracle import Oracle
from earwitness.ear.pjmedia import Pjmedia
from earwitness.errors import InputError

USAGE = (
    "use fixed:MS (0 to 10000), adaptive[:WORTH_MS],"
    " pjmedia[:capacity=MS,prefetch=MS,min=MS,max=MS,gap=MS,fast=MS,slow=MS], or oracle:MS"
)


def buffer(spec: str) -> JitterBuffer:
    """The jitter buffer that `spec` asks for: `fixed:60`. Raises InputError that names the valid ones."""
    name, _, rest = spec.strip().lower().partition(":")
    if name not in _MAKERS:
        raise InputError("using the jitter buffer", repr(spec), "no buffer has that name", USAGE)
    return _MAKERS[name](spec, rest)


def _milliseconds(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            "using the jitter buffer", repr(spec), f"{text!r} is not a number of milliseconds", USAGE
        ) from None


def _adaptive(spec: str, rest: str) -> JitterBuffer:
    return Adaptive(worth_ms=_milliseconds(spec, rest)) if rest else Adaptive()


def _oracle(spec: str, rest: str) -> JitterBuffer:
    return Oracle(_milliseconds(spec, rest))


def _fixed(spec: str, rest: str) -> JitterBuffer:
    return Fixed(_milliseconds(spec, rest))


_PJMEDIA = {
    "capacity": "capacity_ms",
    "prefetch": "prefetch_ms",
    "min": "min_prefetch_ms",
    "max": "max_prefetch_ms",
    "gap": "discard_gap_ms",
    "fast": "discard_fast_ms",
    "slow": "discard_slow_ms",
}


def _pjmedia(spec: str, rest: str) -> JitterBuffer:
    settings: dict[str, int] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in _PJMEDIA or not (value.isascii() and value.isdigit()):
            raise InputError("using the jitter buffer", repr(spec), f"cannot read {part!r}", USAGE)
        settings[_PJMEDIA[key]] = int(value)
    return Pjmedia(**settings)


_MAKERS: Mapping[str, Callable[[str, str], JitterBuffer]] = {
    "fixed": _fixed,
    "pjmedia": _pjmedia,
    "adaptive": _adaptive,
    "oracle": _oracle,
}
