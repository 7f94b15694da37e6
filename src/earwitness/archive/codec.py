"""Dataclass <-> plain JSON values, with checks: every record is read and written through this module.

Records come from untrusted sources. A value that passes can be stored in every format in use (UTF-8, int64, double),
and is within the `range` in its field's metadata.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, Union

Item = TypeVar("Item")

INT64 = (-(2**63), 2**63 - 1)
MOST_DEPTH = 40
"""Most levels of nested lists and objects in a field that may hold anything."""
MOST_NOTES = 20
"""Most notes on one record: an untrusted one may have a million unknown keys."""

_PLAIN: dict[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Maybe:
    """A plain value or None, the type of most fields."""

    kind: type


_OPTIONAL: dict[Any, _Maybe] = {kind | None: _Maybe(kind) for kind in _PLAIN}


class Mismatch(ValueError):
    """A value that violates the schema, with its place: `rows[0].hops: expected an integer, got 'x'`."""


def loads(text: str | bytes) -> Any:
    """Plain values from JSON by RFC 8259: without NaN, infinities or duplicate keys.

    Raises `Mismatch`.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except Mismatch:
        raise
    except (ValueError, RecursionError) as error:
        raise Mismatch(f"not JSON: {_short_text(str(error))}") from None


def to_plain(value: Any) -> Any:
    """The value in JSON types: dataclasses become objects, numpy scalars Python's, NaN and infinities None.

    Bytes that Python could not decode (lone surrogates, from a path that is not UTF-8) are written as `\\udcff`.
    Raises `Mismatch` for a value that JSON cannot represent.
    """
    if isinstance(value, str):
        text = str(value) if isinstance(value, Enum) else value
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _object(value)
    if isinstance(value, Mapping):
        return {to_plain(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):  # numpy scalar or array
        return to_plain(value.tolist())
    if hasattr(value, "__fspath__"):
        return to_plain(str(value))
    raise Mismatch(f"JSON cannot hold a {type(value).__name__}: {value!r}")


def _object(value: Any) -> dict[str, Any]:
    """A dataclass as an object; sparse fields (`earwitness.facts`) only if they have a value, `others` merged in."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.metadata.get("others"):
            plain = {**to_plain(item), **plain}
        elif item is not None or not field.metadata.get("sparse"):
            plain[field.name] = to_plain(item)
    return plain


def from_plain(kind: type[Item], value: Any, notes: list[str] | None = None, where: str = "") -> Item:
    """The dataclass `kind` from plain JSON values.

    A missing key takes the field's default. An unknown key goes into the field for unknown keys
    (`earwitness.facts.others`); without such a field it is left out with an entry in `notes`.
    Raises `Mismatch` for a missing key without a default, and for a value of the wrong type or out of range.
    """
    if not isinstance(value, Mapping):
        raise Mismatch(f"{where or kind.__name__}: expected an object, got {_short(value)}")
    given: dict[str, Any] = {}
    for field in _fields(kind):  # type: ignore[arg-type]
        if field.others:
            names = _names(kind)  # type: ignore[arg-type]
            unknown = {key: item for key, item in value.items() if key not in names}
            given[field.name] = _convert(field.hint, unknown, notes, where or field.name)
        elif field.name in value:
            place = f"{where}.{field.name}" if where else field.name
            given[field.name] = item = _convert(field.hint, value[field.name], notes, place)
            if item is not None and field.limited:
                _check_limits(item, field, place)
        elif field.required:
            raise Mismatch(f"{where}.{field.name}: missing".lstrip("."))
    if notes is not None and not any(field.others for field in _fields(kind)):  # type: ignore[arg-type]
        names = _names(kind)  # type: ignore[arg-type]
        left_out = [key for key in value if key not in names][: max(0, MOST_NOTES - len(notes))]
        notes.extend(f"{where}.{_key(key)}: unknown, left out".lstrip(".") for key in left_out)
    return kind(**given)


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """The requirements of a dataclass field on its value."""

    name: str
    hint: Any
    required: bool
    bounds: tuple[float, float] | None
    longest: int | None
    limited: bool
    others: bool


@functools.cache
def _fields(kind: type) -> tuple[_Field, ...]:
    """The fields of a dataclass, with types evaluated once."""
    hints = typing.get_type_hints(kind)
    made = []
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        bounds, longest = field.metadata.get("range"), field.metadata.get("longest")
        limited = bounds is not None or longest is not None
        hint = _OPTIONAL.get(hints[field.name], hints[field.name])
        others = bool(field.metadata.get("others"))
        made.append(_Field(field.name, hint, required, bounds, longest, limited, others))
    return tuple(made)


@functools.cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in _fields(kind) if not field.others)


def _convert(hint: Any, value: Any, notes: list[str] | None, where: str) -> Any:
    """`value` as the type `hint`. Raises `Mismatch`."""
    if isinstance(hint, _Maybe):
        return None if value is None else _scalar(hint.kind, value, where)
    if hint in _PLAIN:
        return _scalar(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        _check_anything(value, where)
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        rest = [argument for argument in arguments if argument is not type(None)]
        return _convert(rest[0], value, notes, where)  # our unions are all `X | None`
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise Mismatch(f"{where}: expected a list, got {_short(value)}")
        return tuple(_convert(arguments[0], item, notes, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise Mismatch(f"{where}: expected an object, got {_short(value)}")
        return {
            _key_of(key, where): _convert(arguments[1], item, notes, f"{where}.{_key(key)}")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, notes, where)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    """`value` as a string, number, boolean or member of an enumeration. Raises `Mismatch`."""
    if type(value) is hint:
        if hint is str:
            if not value.isascii():
                _check_text(value, where)
        elif hint is int and not INT64[0] <= value <= INT64[1]:
            raise Mismatch(f"{where}: {_short(value)} does not fit into 64 bits")
        elif hint is float and not math.isfinite(value):
            raise Mismatch(f"{where}: {value} is not a number that JSON has")
        return value
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise Mismatch(f"{where}: {_short(value)} is not one of {', '.join(str(m) for m in hint)}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Mismatch(f"{where}: no number can be as large as {_short(value)}") from None
    raise Mismatch(f"{where}: expected {_PLAIN.get(hint, str(hint))}, got {_short(value)}")


def _check_limits(value: Any, field: _Field, where: str) -> None:
    """Raise `Mismatch` for a number outside its field's range, and for a text longer than its field permits."""
    bounds, longest = field.bounds, field.longest
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        raise Mismatch(f"{where}: {_short(value)} is not within {bounds[0]:g} to {bounds[1]:g}")
    if longest is not None and len(value) > longest:
        raise Mismatch(f"{where}: {_short(value)} has {len(value)} characters, at most {longest} can be")


def _check_anything(value: Any, where: str) -> None:
    """Raise `Mismatch` for a value, at any depth, that could not be written again."""
    level = [value]
    for _ in range(MOST_DEPTH):
        for item in level:
            if isinstance(item, str):
                _check_text(item, where)
            elif isinstance(item, float) and not math.isfinite(item):
                raise Mismatch(f"{where}: {item} is not a number that JSON has")
        for item in level:
            if isinstance(item, Mapping):
                for key in item:
                    _key_of(key, where)
        level = [
            inner
            for item in level
            if isinstance(item, Mapping | list | tuple)
            for inner in (item.values() if isinstance(item, Mapping) else item)
        ]
        if not level:
            return
    raise Mismatch(f"{where}: nested deeper than {MOST_DEPTH} levels")


def _check_text(text: str, where: str) -> None:
    """Raise `Mismatch` for a text that UTF-8 cannot represent, because it contains a lone surrogate."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Mismatch(f"{where}: {_short(text)} is not Unicode text (a lone surrogate)") from None


def _key_of(key: Any, where: str) -> str:
    _check_text(str(key), where)
    return str(key)


def _key(key: Any) -> str:
    """A key as part of a place in an error message: shortened, and printable."""
    text = str(key)
    return _short_text(text if text.isprintable() else text[:50].encode("unicode_escape", "backslashreplace").decode())


def _no_constant(name: str) -> float:
    raise Mismatch(f"not JSON: {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without duplicate keys, which different readers resolve differently. Raises `Mismatch`."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Mismatch(f"{_key(twice)}: there twice")
    return made


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _short_text(repr(value[:50] if isinstance(value, str) else value))


def _short_text(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
