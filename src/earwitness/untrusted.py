"""Validates values received from another machine or phone before they are used.

The other end of a call can send anything: a string instead of a number, 10**400, NaN, half a character, megabytes. Each
value is read by one of these functions, which return a validated value or raise `UntrustedValue`.
Pure: plain JSON values in, plain values out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

MOST_NS = 2**62
"""Largest time: twice as much would not fit in 64 bits, the size of times in a trace."""
MOST_COUNT = 2**40
LONGEST_TEXT = 1000
_DEEPEST = 6
_SHOWN = 40
_LARGEST = 2**63

Value = TypeVar("Value")


class UntrustedValue(ValueError):
    """A received value is invalid; the message names it and shows it."""


def whole(value: object, least: int = 0, most: int = MOST_COUNT, *, what: str = "a count") -> int:
    """An integer within bounds."""
    if type(value) is not int or not least <= value <= most:
        raise UntrustedValue(f"{what}: {shown(value)} is not a whole number from {least} to {most}")
    return value


def number(value: object, least: float = 0.0, most: float = 1e9, *, what: str = "a figure") -> float:
    """A finite number within bounds."""
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise UntrustedValue(f"{what}: {shown(value)} is not a number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]


def flag(value: object, *, what: str = "a switch") -> bool:
    """True or false."""
    if type(value) is not bool:
        raise UntrustedValue(f"{what}: {shown(value)} is neither true nor false")
    return value


def name(value: object, longest: int = 100, *, what: str = "a name") -> str:
    """A printable single-line text, unchanged; may be empty."""
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise UntrustedValue(f"{what}: {shown(value)} is not a single-line text of at most {longest} characters")
    return value


def text(value: object, longest: int = LONGEST_TEXT, *, what: str = "a text") -> str:
    """Any text, made storable: characters that cannot be encoded are replaced, and long texts truncated."""
    if not isinstance(value, str):
        raise UntrustedValue(f"{what}: {shown(value)} is not a text")
    return fit(value, longest)


def listed(value: object, read: Callable[[Any], Value], most: int, *, what: str = "a list") -> tuple[Value, ...]:
    """A list, each item validated by `read`."""
    if not isinstance(value, list | tuple) or len(value) > most:
        raise UntrustedValue(f"{what}: {shown(value)} is not a list of at most {most}")
    return tuple(read(item) for item in value)


def fields(value: object, *, what: str = "an object") -> Mapping[str, Any]:
    """An object with fields."""
    if not isinstance(value, Mapping):
        raise UntrustedValue(f"{what}: {shown(value)} is not an object with fields")
    return value


def optional(value: object, read: Callable[[Any], Value]) -> Value | None:
    """None, or the value validated by `read`."""
    return None if value is None else read(value)


def fit(value: str, longest: int) -> str:
    """A text truncated to a length, with lone surrogates and NUL replaced."""
    cut = value[:longest] + (" ..." if len(value) > longest else "")
    return cut.encode("utf-8", errors="replace").decode().replace("\0", "?")


def plain(value: object, most_items: int = 200, depth: int = 0) -> Any:
    """Any received value as storable evidence: texts, lists and nesting are truncated, huge numbers described."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else shown(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, str):
        return fit(value, LONGEST_TEXT)
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        few = list(value.items())[:most_items]
        return {fit(str(key), 100): plain(item, most_items, depth + 1) for key, item in few}
    if isinstance(value, list | tuple):
        return [plain(item, most_items, depth + 1) for item in value[:most_items]]
    return shown(value)


def shown(value: object) -> str:
    """Any received value as one short line."""
    if isinstance(value, list | tuple | Mapping):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        value = value[: _SHOWN + 1]
    short = ascii(value)
    return short if len(short) <= _SHOWN else short[: _SHOWN - 3] + "..."
