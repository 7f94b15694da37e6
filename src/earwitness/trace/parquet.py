"""Reading an untrusted Parquet file, after its layout has been checked to be safe to unpack.

String and binary columns are read as dictionaries, which hold each distinct value once however often it is repeated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earwitness.errors import InputError
from earwitness.files import read_regular
from earwitness.trace.parquet_layout import MOST_BYTES, UnfitParquet, checked_layout


def read_dictionaries(path: str | Path, doing: str, remedy: str) -> pa.Table:
    """The table in a Parquet file, with string and binary columns as dictionary arrays.

    `doing` and `remedy` are the first and last clause of the error. Raises InputError if the file is missing, not a
    regular file, not Parquet, damaged, nested, or larger than `parquet_layout` permits.
    """
    return _parse(_content(path, doing, remedy), path, doing, remedy)[0]


def read_plain(path: str | Path, doing: str, remedy: str) -> pa.Table:
    """As `read_dictionaries`, but with the column types of the file's schema. Repeated values count towards
    `MOST_BYTES` each time."""
    return parse_plain(_content(path, doing, remedy), path, doing, remedy)


def parse_plain(content: bytes, path: str | Path, doing: str, remedy: str) -> pa.Table:
    """As `read_plain`, for a file given as bytes; `path` appears in errors."""
    table, schema = _parse(content, path, doing, remedy)
    try:
        for place, field in enumerate(schema):
            column = table.column(place)
            if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(field.type):
                if _unpacked_bytes(column) > MOST_BYTES:
                    raise InputError(doing, path, f"its column {field.name} is too large when unpacked", remedy)
                table = table.set_column(place, field, column.cast(column.type.value_type).cast(field.type))
    except (pa.ArrowException, ValueError, MemoryError) as error:
        raise InputError(doing, path, f"it is damaged ({error})", remedy) from error
    return table


def _content(path: str | Path, doing: str, remedy: str) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        raise InputError(doing, path, error.strerror or error, remedy) from error


def _parse(content: bytes, path: str | Path, doing: str, remedy: str) -> tuple[pa.Table, pa.Schema]:
    """The table with dictionary columns, and the file's own schema."""
    try:
        layout = checked_layout(content)
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(layout.texts))
        table = file.read(use_threads=False)
        # The layout was checked: if pyarrow read something else, it cannot be trusted.
        if table.num_rows != layout.rows or tuple(table.column_names) != layout.columns:
            raise UnfitParquet("it is damaged (its rows and columns do not match its footer)")
        table.validate()
        return table, file.schema.to_arrow_schema()
    except UnfitParquet as error:
        raise InputError(doing, path, error, remedy) from error
    except pa.ArrowException as error:
        raise InputError(doing, path, f"it is damaged ({error})", remedy) from error
    except OSError as error:
        raise InputError(doing, path, error.strerror or f"it is damaged ({error})", remedy) from error
    except (ValueError, MemoryError) as error:
        raise InputError(doing, path, f"it is damaged ({error})", remedy) from error


def _unpacked_bytes(column: pa.ChunkedArray) -> int:
    """Size in bytes of a dictionary column when expanded."""
    total = 0
    for chunk in column.chunks:
        lengths = np.append(pc.binary_length(chunk.dictionary).fill_null(0).to_numpy(zero_copy_only=False), 0)
        which = chunk.indices.fill_null(len(lengths) - 1).to_numpy(zero_copy_only=False)
        total += int(lengths[which].sum(dtype=np.int64))
    return total
