"""Parquet files that anybody may have made, read within bounds: of bytes, of rows, and of what they unpack to.

A few hundred bytes can say that they hold a billion rows, or one long text a million times. What a file says of itself
is believed only where it makes the file unfit; what it really holds is counted as it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earwitness.files import MIB, UnfitFile, open_regular

_COLUMNS = 400
_ROW_GROUPS = 10_000
_AT_ONCE = 16_384


def read_bounded(path: Path, *, most_rows: int, most_bytes: int = 256 * MIB) -> pa.Table:
    """The table in a Parquet file of plain columns. `most_bytes`: of the file, and of the table in memory.

    Raises:
        UnfitFile: it is no regular file, beyond a bound, or nested.
        OSError, pa.ArrowException: it cannot be read, or is damaged.
    """
    with open_regular(path, most_bytes=most_bytes) as file:
        schema, texts = _judged(file, path, most_rows, most_bytes)
        # Texts as dictionaries: a long one that is there a million times is in memory once, and can be counted.
        parquet = pq.ParquetFile(file, read_dictionary=texts)
        batches, size, rows = [], 0, 0
        for batch in parquet.iter_batches(batch_size=_AT_ONCE, use_threads=False):
            size += sum(map(_unpacked, batch.columns))
            rows += len(batch)
            if size > most_bytes or rows > most_rows:
                raise UnfitFile(f"it unpacks to too much (over {size} bytes in {rows} rows)", path)
            batches.append(batch.cast(schema) if texts else batch)
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)
    return table


def _judged(file: BinaryIO, path: Path, most_rows: int, most_bytes: int) -> tuple[pa.Schema, list[str]]:
    """The columns that a file says it has, and those of texts; `UnfitFile` where it says that it is too large."""
    parquet = pq.ParquetFile(file)
    about, schema = parquet.metadata, parquet.schema_arrow
    if not 0 <= about.num_rows <= most_rows:
        raise UnfitFile(f"it has too many rows ({about.num_rows}, at most {most_rows})", path)
    if about.num_columns > _COLUMNS or about.num_row_groups > _ROW_GROUPS:
        raise UnfitFile("it has too many columns or row groups", path)
    if any(pa.types.is_nested(field.type) for field in schema) or len(set(schema.names)) < len(schema.names):
        raise UnfitFile("it has nested or repeated columns", path)
    unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    if not 0 <= unpacked <= most_bytes:
        raise UnfitFile(f"it unpacks to too much ({unpacked} bytes)", path)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return schema, [field.name for field in schema if any(is_kind(field.type) for is_kind in kinds)]


def _unpacked(column: pa.Array) -> int:
    """Bytes that a column takes once every text stands in it as often as it is there."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return int(column.indices.nbytes) + int(pc.sum(lengths.take(column.indices)).as_py() or 0)
