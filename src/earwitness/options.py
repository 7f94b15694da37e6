"""Parse a kind with its options as the user writes it: `opus:24000,fec=1`."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from earwitness.errors import InputError

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""Valid names of kinds; names appear in specifications, columns and file names."""


@dataclass(frozen=True)
class Option:
    """One option of a kind, and its permitted values."""

    name: str
    values: Container[float]
    """For example `range(11)`, `(0, 1)` or a `Between`."""
    bare: bool = False
    """Whether a first value without a name sets this option."""


@dataclass(frozen=True)
class Between:
    """All real numbers from `low` to `high`, inclusive."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


def split(spec: str) -> tuple[str, str]:
    """Split a specification into name and options: `opus:24000,fec=1` gives `opus` and `24000,fec=1`."""
    name, _, rest = spec.strip().lower().partition(":")
    return name.strip(), rest


def parse(tried: str, spec: str, permitted: Sequence[Option], usage: str) -> Mapping[str, float]:
    """The options in `spec`, by name; integers stay integers.

    They are comma-separated `name=value` pairs; the first may be a bare value if one of `permitted` is `bare`. Raises
    `InputError`, whose message begins with `tried` ("using the codec") and ends with `usage`.
    """
    name, rest = split(spec)
    by_name = {option.name: option for option in permitted}
    bare = next((option.name for option in permitted if option.bare), "")
    found: dict[str, float] = {}
    for position, part in enumerate(filter(None, rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and position == 0 and bare:
            key, value = bare, key
        if key not in by_name:
            raise InputError(tried, repr(spec), f"{name} has no option {key!r}", usage, field=key)
        number = _number(value)
        if number is None or number not in by_name[key].values:
            raise InputError(tried, repr(spec), f"{key} cannot be {value!r}", usage, field=key)
        found[key] = number
    return found


def _number(text: str) -> float | None:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
