"""Schema-less reader for Thrift's compact protocol, limited to what Parquet footers and page headers need.

Source: "Thrift Compact protocol encoding" (github.com/apache/thrift, doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

from typing import Any

Struct = dict[int, Any]
"""Fields by number: int, float, bool, bytes, list, or another struct."""

_DEEPEST = 12
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)


class BrokenThrift(ValueError):
    """The bytes are not a valid struct in this encoding."""


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """The struct that begins at `at`, and the offset of its end. Raises BrokenThrift."""
    try:
        return _struct(data, at, 0)
    except IndexError:
        raise BrokenThrift("it ends in the middle of a struct") from None


def _struct(data: bytes, at: int, depth: int) -> tuple[Struct, int]:
    if depth > _DEEPEST:
        raise BrokenThrift("its structs are nested too deeply")
    fields: Struct = {}
    number = 0
    while True:
        head = data[at]
        at += 1
        kind = head & 15
        if kind == _STOP:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            zigzag, at = _varint(data, at)
            number = (zigzag >> 1) ^ -(zigzag & 1)
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (_I32, _I64, _I16):
        zigzag, at = _varint(data, at)
        return (zigzag >> 1) ^ -(zigzag & 1), at
    if kind == _BINARY:
        length, at = _varint(data, at)
        if length > len(data) - at:
            raise BrokenThrift("a string in it is longer than the file")
        return data[at : at + length], at + length
    if kind in (_LIST, _SET):
        return _list(data, at, depth)
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)
    if kind in (_TRUE, _FALSE, _BYTE):  # as a list member: one byte each
        return data[at], at + 1
    if kind == _DOUBLE:
        if at + 8 > len(data):
            raise BrokenThrift("it ends in the middle of a number")
        return float("nan"), at + 8  # no field read here is a double
    raise BrokenThrift(f"it has a field of kind {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head = data[at]
    at += 1
    count, kind = head >> 4, head & 15
    if count == 15:
        count, at = _varint(data, at)
    # Each member takes at least one byte.
    if count > len(data) - at:
        raise BrokenThrift("a list in it is longer than the file")
    members: list[Any] = []
    for _ in range(count):
        member, at = _value(data, at, kind, depth + 1)
        members.append(member)
    return members, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise BrokenThrift("a number in it has more than 64 bits")
