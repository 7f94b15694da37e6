"""Reading a Parquet file that somebody else may have made: judged by its metadata before anything is unpacked.

A file of kilobytes can unpack to gigabytes: a value that is repeated costs a few bits a row, and zstd packs zeros ten
thousand to one. So rows, columns and unpacked bytes are bounded first, and texts and bytes are read as dictionaries,
where each distinct value is held once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earwitness.errors import InputError
from earwitness.files import MIB, open_regular

MOST_ROWS = 4_000_000
"""Packets or frames of a call: more than a day of packets, twelve hours of a ledger."""
MOST_BYTES = 256 * MIB
"""Unpacked: eight hours of whole G.711 packets."""
_MOST_COLUMNS, _MOST_ROW_GROUPS = 256, 100_000
_KINDS = {"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY"}


def read_dictionaries(path: str | Path, doing: str, remedy: str) -> pa.Table:
    """The table in a Parquet file, its texts and bytes as dictionary arrays.

    `doing` and `remedy` are the first and last clause of the error. Raises InputError where the file is missing, no
    regular file, none of Parquet, damaged, nested, or larger than `MOST_ROWS` and `MOST_BYTES`.
    """
    return _read(path, doing, remedy)[0]


def read_plain(path: str | Path, doing: str, remedy: str) -> pa.Table:
    """As `read_dictionaries`, with the columns as the file's schema has them; what is repeated counts towards
    `MOST_BYTES` as often as it is."""
    table, schema = _read(path, doing, remedy)
    try:
        for place, field in enumerate(schema):
            column = table.column(place)
            if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(field.type):
                if _unpacked_bytes(column) > MOST_BYTES:
                    raise InputError(doing, path, f"its column {field.name} unpacks to too much", remedy)
                table = table.set_column(place, field, column.cast(column.type.value_type).cast(field.type))
    except (pa.ArrowException, ValueError, MemoryError) as error:
        raise InputError(doing, path, f"it is damaged ({error})", remedy) from error
    return table


def _read(path: str | Path, doing: str, remedy: str) -> tuple[pa.Table, pa.Schema]:
    """The table with dictionaries, and the schema that the file has."""
    try:
        with open_regular(path, most_bytes=MOST_BYTES) as file:
            metadata = pq.read_metadata(file)
            wrong = _unfit(metadata)
            if not wrong:
                columns = [metadata.schema.column(at) for at in range(metadata.num_columns)]
                texts = [column.name for column in columns if column.physical_type == "BYTE_ARRAY"]
                file.seek(0)
                whole = pq.ParquetFile(file, metadata=metadata, read_dictionary=texts)
                return whole.read(use_threads=False), metadata.schema.to_arrow_schema()
    except OSError as error:
        raise InputError(doing, path, error.strerror or error, remedy) from error
    except (pa.ArrowException, ValueError, MemoryError) as error:
        raise InputError(doing, path, f"it is damaged ({error})", remedy) from error
    raise InputError(doing, path, wrong, remedy)


def _unfit(metadata: pq.FileMetaData) -> str:
    """Why a file is not to be unpacked, as a clause; empty where it may be."""
    if metadata.num_columns > _MOST_COLUMNS or metadata.num_row_groups > _MOST_ROW_GROUPS:
        return f"it has {metadata.num_columns} columns in {metadata.num_row_groups} parts"
    for at in range(metadata.num_columns):
        column = metadata.schema.column(at)
        if column.max_repetition_level or column.physical_type not in _KINDS or column.name != column.path:
            return f"its column {column.path} is of another kind than we write"
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    if not 0 <= rows <= MOST_ROWS:
        return f"it has {rows} rows, and at most {MOST_ROWS} are read"
    unpacked = sum(
        max(0, group.column(at).total_uncompressed_size) for group in groups for at in range(group.num_columns)
    )
    if unpacked > MOST_BYTES:
        return f"it unpacks to {unpacked // MIB} MiB, and at most {MOST_BYTES // MIB} are read"
    return ""


def _unpacked_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a column of dictionaries with every value in its place."""
    total = 0
    for chunk in column.chunks:
        lengths = np.append(pc.binary_length(chunk.dictionary).fill_null(0).to_numpy(zero_copy_only=False), 0)
        total += int(
            lengths[chunk.indices.fill_null(len(lengths) - 1).to_numpy(zero_copy_only=False)].sum(dtype=np.int64)
        )
    return total
