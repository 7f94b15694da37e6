"""Where a Parquet file's pages are and what they unpack to, known before any of them is unpacked.

pyarrow believes what a file says of itself: a page's header makes it ask for 2 GB, and a value that is repeated costs a
few bits a row; to ask it for the sizes in a footer whose parts do not fit together ends the process. So the footer and
every page's header are read here first, and only files as plain as those that we write are let through.

Source: parquet.thrift (github.com/apache/parquet-format); the numbers are those of its fields.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from earwitness.files import MIB
from earwitness.trace.thrift import BrokenThrift, Struct, read_struct

MOST_ROWS = 4_000_000
"""Packets or frames of a call: more than a day of packets, twelve hours of a ledger."""
MOST_BYTES = 256 * MIB
"""Unpacked: eight hours of whole G.711 packets."""
_MOST_FOOTER = MIB
_MOST_HEADER = 1 << 16
_MOST_PAGES = 100_000
_MAGIC = b"PAR1"

BYTE_ARRAY = 6
_TYPES = {0, 1, 2, 4, 5, BYTE_ARRAY}
"""BOOLEAN, INT32, INT64, FLOAT, DOUBLE and BYTE_ARRAY."""
_ENCODINGS = {0, 2, 3, 4, 8}
"""PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, RLE_DICTIONARY: those in which a value takes no more than it has bytes,
or is in the dictionary once."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3


class UnfitParquet(ValueError):
    """A file that is not to be unpacked; the text is the clause that says why."""


@dataclass(frozen=True)
class Layout:
    """`rows`, the names of its `columns` in order, and of those that hold `texts` or bytes."""

    rows: int
    columns: tuple[str, ...]
    texts: tuple[str, ...]


def checked_layout(content: bytes) -> Layout:
    """The layout of a whole file. Raises UnfitParquet where it is damaged, too large, or of another kind than ours."""
    try:
        return _checked(content)
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise UnfitParquet("it is damaged (its footer lacks what a footer has)") from None
    except BrokenThrift as error:
        raise UnfitParquet(f"it is damaged ({error})") from None


def _checked(content: bytes) -> Layout:
    footer = _footer(content)
    root, *leaves = footer[2]
    if root[5] != len(leaves) or 8 in footer or 9 in footer:
        raise UnfitParquet("its columns are nested or encrypted, which ours are not")
    for leaf in leaves:
        if leaf.get(5) or leaf.get(1) not in _TYPES or leaf.get(3) not in (0, 1):
            raise UnfitParquet(f"its column {str(leaf[4])[:40]} is of another kind than ours")
    groups = footer[4]
    rows = sum(_natural(group[3]) for group in groups)
    if rows != footer[3]:
        raise UnfitParquet(f"it is damaged ({footer[3]} rows are promised, and its parts have {rows})")
    if rows > MOST_ROWS:
        raise UnfitParquet(f"it has {rows} rows, and at most {MOST_ROWS} are read")
    pages = unpacked = 0
    for group in groups:
        chunks = group[1]
        if len(chunks) != len(leaves):
            raise UnfitParquet("it is damaged (a part of it lacks columns)")
        for leaf, chunk in zip(leaves, chunks, strict=True):
            more_pages, more = _chunk_size(content, leaf, chunk, group[3])
            pages, unpacked = pages + more_pages, unpacked + more
            if unpacked > MOST_BYTES or pages > _MOST_PAGES:
                raise UnfitParquet(f"it unpacks to more than {MOST_BYTES // MIB} MiB, which is all that is read")
    names = [leaf[4].decode() for leaf in leaves]
    texts = [name for name, leaf in zip(names, leaves, strict=True) if leaf[1] == BYTE_ARRAY]
    return Layout(rows, tuple(names), tuple(texts))


def _footer(content: bytes) -> Struct:
    if len(content) < 12 or content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise UnfitParquet("it is no Parquet file")
    (length,) = struct.unpack_from("<I", content, len(content) - 8)
    if length > min(len(content) - 12, _MOST_FOOTER):
        raise UnfitParquet(f"it is damaged (a footer of {length} bytes)")
    return read_struct(content[len(content) - 8 - length : len(content) - 8])[0]


def _chunk_size(content: bytes, leaf: Struct, chunk: Struct, rows: int) -> tuple[int, int]:
    """How many pages a column has in one part of the file, and the bytes that they unpack to."""
    about = chunk[3]
    if 1 in chunk or 8 in chunk or 9 in chunk or about[1] != leaf[1] or about[3] != [leaf[4]] or about[5] != rows:
        raise UnfitParquet("it is damaged (a column is not what its schema says)")
    at = _natural(about[9])
    if about.get(11):
        at = min(at, _natural(about[11]))
    end = at + _natural(about[7])
    if end > len(content):
        raise UnfitParquet("it is damaged (a column reaches beyond its end)")
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
    """How many values of the column are in a page; none in a dictionary."""
    kind = page[1]
    if kind not in (_DATA, _DICTIONARY, _DATA_V2):
        raise UnfitParquet(f"it has a page of kind {kind}, which ours have not")
    about, encoding = page[{_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}[kind]], 4 if kind == _DATA_V2 else 2
    if about[encoding] not in _ENCODINGS:
        raise UnfitParquet(f"it has an encoding ({about[encoding]}) that ours have not")
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
