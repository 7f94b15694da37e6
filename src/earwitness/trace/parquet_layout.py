"""Checks where a Parquet file's pages are and what they unpack to, before any of them is unpacked.

pyarrow trusts the file: a page header can make it allocate 2 GB, a repeated value costs only a few bits per row, and
reading sizes from an inconsistent footer can crash the process. So the footer and every page header are read here
first, and only files as simple as those that Earwitness writes are accepted.

Source: parquet.thrift (github.com/apache/parquet-format); the numbers are those of its fields.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from earwitness.files import MIB
from earwitness.trace.thrift import BrokenThrift, Struct, read_struct

MOST_ROWS = 4_000_000
"""Packets or frames per call: more than a day of packets, twelve hours of a ledger."""
MOST_BYTES = 256 * MIB
"""Unpacked size: eight hours of complete G.711 packets."""
_MOST_FOOTER = MIB
_MOST_HEADER = 1 << 16
_MOST_PAGES = 100_000
_MAGIC = b"PAR1"

BYTE_ARRAY = 6
_TYPES = {0, 1, 2, 4, 5, BYTE_ARRAY}
"""BOOLEAN, INT32, INT64, FLOAT, DOUBLE and BYTE_ARRAY."""
_ENCODINGS = {0, 2, 3, 4, 8}
"""PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, RLE_DICTIONARY: in these, a value takes no more memory than bytes in the
file, or is stored once in the dictionary."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3


class UnfitParquet(ValueError):
    """The file must not be unpacked; the message is a clause with the reason."""


@dataclass(frozen=True)
class Layout:
    """Number of `rows`, the `columns` in order, and which of them hold strings or bytes (`texts`)."""

    rows: int
    columns: tuple[str, ...]
    texts: tuple[str, ...]


def checked_layout(content: bytes) -> Layout:
    """The layout of a complete file. Raises UnfitParquet if it is damaged, too large, or uses unsupported features."""
    try:
        return _checked(content)
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise UnfitParquet("it is damaged (its footer is incomplete)") from None
    except BrokenThrift as error:
        raise UnfitParquet(f"it is damaged ({error})") from None


def _checked(content: bytes) -> Layout:
    footer = _footer(content)
    root, *leaves = footer[2]
    if root[5] != len(leaves) or 8 in footer or 9 in footer:
        raise UnfitParquet("its columns are nested or encrypted, which is not supported")
    for leaf in leaves:
        if leaf.get(5) or leaf.get(1) not in _TYPES or leaf.get(3) not in (0, 1):
            raise UnfitParquet(f"its column {str(leaf[4])[:40]} has an unsupported type")
    groups = footer[4]
    rows = sum(_natural(group[3]) for group in groups)
    if rows != footer[3]:
        raise UnfitParquet(f"it is damaged (its footer promises {footer[3]} rows, its row groups have {rows})")
    if rows > MOST_ROWS:
        raise UnfitParquet(f"it has {rows} rows, more than the limit of {MOST_ROWS}")
    pages = unpacked = 0
    for group in groups:
        chunks = group[1]
        if len(chunks) != len(leaves):
            raise UnfitParquet("it is damaged (a row group lacks columns)")
        for leaf, chunk in zip(leaves, chunks, strict=True):
            more_pages, more = _chunk_size(content, leaf, chunk, group[3])
            pages, unpacked = pages + more_pages, unpacked + more
            if unpacked > MOST_BYTES or pages > _MOST_PAGES:
                raise UnfitParquet(f"it unpacks to more than {MOST_BYTES // MIB} MiB, the limit")
    names = [leaf[4].decode() for leaf in leaves]
    texts = [name for name, leaf in zip(names, leaves, strict=True) if leaf[1] == BYTE_ARRAY]
    return Layout(rows, tuple(names), tuple(texts))


def _footer(content: bytes) -> Struct:
    if len(content) < 12 or content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise UnfitParquet("it is not a Parquet file")
    (length,) = struct.unpack_from("<I", content, len(content) - 8)
    if length > min(len(content) - 12, _MOST_FOOTER):
        raise UnfitParquet(f"it is damaged (a footer of {length} bytes)")
    return read_struct(content[len(content) - 8 - length : len(content) - 8])[0]


def _chunk_size(content: bytes, leaf: Struct, chunk: Struct, rows: int) -> tuple[int, int]:
    """The number of pages of a column in one row group, and the bytes they unpack to."""
    about = chunk[3]
    if 1 in chunk or 8 in chunk or 9 in chunk or about[1] != leaf[1] or about[3] != [leaf[4]] or about[5] != rows:
        raise UnfitParquet("it is damaged (a column does not match its schema)")
    at = _natural(about[9])
    if about.get(11):
        at = min(at, _natural(about[11]))
    end = at + _natural(about[7])
    if end > len(content):
        raise UnfitParquet("it is damaged (a column extends past its end)")
    pages, unpacked, values = 0, 0, 0
    while at < end and values < rows:
        header, length = read_struct(content[at : min(at + _MOST_HEADER, end)])
        packed, size = _natural(header[3]), _natural(header[2])
        at += length + packed
        pages, unpacked = pages + 1, unpacked + size
        values += _values(header, rows)
    if at > end or values != rows:
        raise UnfitParquet("it is damaged (a column has more or fewer values than rows)")
    return pages, unpacked


def _values(page: Struct, rows: int) -> int:
    """The number of column values in a page; 0 for a dictionary page."""
    kind = page[1]
    if kind not in (_DATA, _DICTIONARY, _DATA_V2):
        raise UnfitParquet(f"it has a page of unsupported kind {kind}")
    about, encoding = page[{_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}[kind]], 4 if kind == _DATA_V2 else 2
    if about[encoding] not in _ENCODINGS:
        raise UnfitParquet(f"it has an unsupported encoding ({about[encoding]})")
    count = _natural(about[1])
    if kind == _DICTIONARY:
        return 0
    if count > rows:
        raise UnfitParquet("it is damaged (a page has more values than there are rows)")
    return count


def _natural(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise UnfitParquet(f"it is damaged (a size of {str(value)[:40]})")
    return value
