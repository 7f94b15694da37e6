"""Dataclass <-> plain JSON values, checked: every record that we write to disk goes through here both ways."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, Union

Item = TypeVar("Item")

_PLAIN: dict[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


class Mismatch(ValueError):
    """A value that is not what the schema says, with where it is: `rows[0].hops: expected an integer, got 'x'`."""


def to_plain(value: Any) -> Any:
    """The value as JSON can hold it: dataclasses to objects, numpy scalars to Python's, NaN and infinities to None.

    Raises `Mismatch` for what JSON cannot hold.
    """
    if value is None or isinstance(value, str | bool):
        return str(value) if isinstance(value, Enum) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):  # numpy scalar or array
        return to_plain(value.tolist())
    if hasattr(value, "__fspath__"):
        return str(value)
    raise Mismatch(f"JSON cannot hold a {type(value).__name__}: {value!r}")


def from_plain(kind: type[Item], value: Any, notes: list[str] | None = None, where: str = "") -> Item:
    """The dataclass `kind` from plain JSON values.

    A missing key takes the field's default. A key that the schema does not know is left out and told in `notes`.
    Raises `Mismatch` for a missing key without a default and for a value of the wrong type.
    """
    if not isinstance(value, Mapping):
        raise Mismatch(f"{where or kind.__name__}: expected an object, got {_short(value)}")
    hints = _hints(kind)  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    names = set()
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        names.add(field.name)
        place = f"{where}.{field.name}" if where else field.name
        if field.name in value:
            given[field.name] = _convert(hints[field.name], value[field.name], notes, place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise Mismatch(f"{place}: missing")
    if notes is not None:
        notes.extend(f"{where}.{key}: unknown, left out".lstrip(".") for key in value if key not in names)
    return kind(**given)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The field types of a dataclass, evaluated once."""
    return typing.get_type_hints(kind)


def _convert(hint: Any, value: Any, notes: list[str] | None, where: str) -> Any:
    """`value` as the type `hint` asks, or `Mismatch`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
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
        return {str(key): _convert(arguments[1], item, notes, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, notes, where)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    """`value` as a string, number, boolean or member of an enumeration."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise Mismatch(f"{where}: {_short(value)} is not one of {', '.join(str(m) for m in hint)}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise Mismatch(f"{where}: expected {_PLAIN.get(hint, str(hint))}, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
