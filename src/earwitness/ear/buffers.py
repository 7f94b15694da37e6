"""Jitter buffers by name, as on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from earwitness.ear.base import JitterBuffer
from earwitness.ear.fixed import Fixed
from earwitness.errors import InputError

USAGE = "use fixed:MS (0 to 10000)"


def buffer(spec: str) -> JitterBuffer:
    """The jitter buffer that `spec` asks for: `fixed:60`. Raises InputError that names the valid ones."""
    name, _, rest = spec.strip().lower().partition(":")
    if name not in _MAKERS:
        raise InputError("use jitter buffer", repr(spec), "no buffer has that name", USAGE)
    return _MAKERS[name](spec, rest)


def _milliseconds(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError("use jitter buffer", repr(spec), f"{text!r} is not a number of milliseconds", USAGE) from None


def _fixed(spec: str, rest: str) -> JitterBuffer:
    return Fixed(_milliseconds(spec, rest))


_MAKERS: Mapping[str, Callable[[str, str], JitterBuffer]] = {"fixed": _fixed}
