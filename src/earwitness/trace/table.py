"""A trace as a Parquet table: lossless both ways, and self-describing.

Columns are the trace's; times that are `UNKNOWN` or `LOST` are null. Properties of the whole trace (clock rate, clocks,
SSRC, source, notes, layout version) are JSON in the schema metadata under `earwitness.trace`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from earwitness.errors import EarwitnessError, InputError
from earwitness.trace.bounds import MOST_CLOCK_RATE
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import UNKNOWN, Payloads, Trace
from earwitness.trace.parquet import read_dictionaries

VERSION = 1
_KEY = b"earwitness.trace"
_COLUMNS = {
    "sequence": pa.int64(),
    "timestamp": pa.int64(),
    "payload_type": pa.uint8(),
    "marker": pa.bool_(),
    "size": pa.int32(),
    "sent_ns": pa.int64(),
    "arrived_ns": pa.int64(),
}


def to_table(trace: Trace) -> pa.Table:
    """The trace as an Arrow table, one row per packet; it has a `payload` column if the trace has payloads."""
    columns: dict[str, Any] = {}
    for name, kind in _COLUMNS.items():
        values = getattr(trace, name)
        mask = values == UNKNOWN if name.endswith("_ns") else None
        columns[name] = pa.array(values, type=kind, mask=mask)
    if trace.payloads is not None:
        columns["payload"] = _binary(trace.payloads)
    about = {
        "version": VERSION,
        "clock_rate": trace.clock_rate,
        "ssrc": trace.ssrc,
        "sent_clock": trace.sent_clock,
        "arrived_clock": trace.arrived_clock,
        "source": trace.source,
        "notes": list(trace.notes),
        "formats": [[number, *dataclasses.astuple(encoding)] for number, encoding in sorted(trace.formats.items())],
    }
    return pa.table(columns).replace_schema_metadata({_KEY: json.dumps(about).encode()})


def from_table(table: pa.Table, name: str = "table") -> Trace:
    """The trace in a table made by `to_table`. Raises `InputError` if it is not one, has a newer layout, or holds
    invalid values (nulls, or numbers outside `trace.bounds`)."""
    metadata = (table.schema.metadata or {}).get(_KEY)
    if metadata is None:
        raise InputError("reading the trace", name, "it is not an Earwitness trace", "give a .trace.parquet file")
    try:
        about = json.loads(metadata)
        version = _whole_number(about, "version", most=1 << 31)
        if version > VERSION:
            happened = f"its layout is version {version}, this program reads up to {VERSION}"
            raise InputError("reading the trace", name, happened, "use a newer Earwitness")
        arrays = {column: _column(table, column, kind) for column, kind in _COLUMNS.items()}
        payloads = _payloads(table.column("payload")) if "payload" in table.column_names else None
        return Trace(
            **arrays,
            clock_rate=_whole_number(about, "clock_rate", most=MOST_CLOCK_RATE),
            ssrc=_whole_number(about, "ssrc", most=0xFFFF_FFFF),
            sent_clock=_text(about["sent_clock"]),
            arrived_clock=_text(about["arrived_clock"]),
            payloads=payloads,
            source=_text(about["source"]),
            notes=tuple(_text(note) for note in about["notes"]),
            formats=dict(_format(entry) for entry in about.get("formats", ())),
        )
    except InputError as error:
        raise InputError("reading the trace", name, f"it is damaged ({error.happened})", "write it again") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError, pa.ArrowException) as error:
        raise InputError("reading the trace", name, f"it is damaged ({error})", "write it again") from error


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write the trace as Parquet. Raises `EarwitnessError` if it cannot be written."""
    try:
        pq.write_table(to_table(trace), path, compression="zstd")
    except (OSError, pa.ArrowException) as error:
        raise EarwitnessError("writing the trace", path, error, "free space or choose another folder") from error


def read_trace(path: str | Path) -> Trace:
    """Read a trace written by `write_trace`. Raises `InputError` if the file cannot be read or is not a trace."""
    return from_table(read_dictionaries(path, "reading the trace", "give a .trace.parquet file"), str(path))


def _whole_number(about: Any, name: str, *, most: int) -> int:
    value = about[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"its {name} is {str(value)[:40]}")
    return value


def _format(entry: Any) -> tuple[int, Encoding]:
    number, name, clock_rate, channels, fmtp = entry
    numbers = {"payload type": number, "clock rate": clock_rate, "channels": channels}
    most = {"payload type": 127, "clock rate": MOST_CLOCK_RATE, "channels": 255}
    for what, limit in most.items():
        _whole_number(numbers, what, most=limit)
    return number, Encoding(_text(name), clock_rate, channels, _text(fmtp))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string is {str(value)[:40]}")
    return value


def _column(table: pa.Table, name: str, kind: pa.DataType) -> Any:
    column = table.column(name).cast(kind).combine_chunks()
    if name.endswith("_ns"):
        column = column.fill_null(UNKNOWN)
    if column.null_count:
        raise ValueError(f"its column {name} has {column.null_count} nulls")
    return np.array(column.to_numpy(zero_copy_only=False))


def _binary(payloads: Payloads) -> pa.Array:
    """Payload bytes as one Arrow binary array, built without a Python object per packet."""
    offsets = np.zeros(len(payloads) + 1, dtype=np.int64)
    np.cumsum(payloads.captured, out=offsets[1:])
    inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - payloads.start, payloads.captured)
    data = payloads.data[inside] if len(inside) else np.zeros(0, dtype=np.uint8)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(payloads), [None, pa.py_buffer(offsets), pa.py_buffer(data.tobytes())]
    )


def _payloads(column: pa.ChunkedArray) -> Payloads:
    if column.null_count:
        raise ValueError(f"its column payload has {column.null_count} nulls")
    if pa.types.is_dictionary(column.type):
        return _shared_payloads(column)
    array = column.cast(pa.large_binary()).combine_chunks()
    _, offsets_buffer, data_buffer = array.buffers()
    count = len(array)
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + count + 1].copy()
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.zeros(0, dtype=np.uint8)
    if not count:
        return Payloads(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32))
    return Payloads(data, offsets[:-1], np.diff(offsets).astype(np.int32))


def _shared_payloads(column: pa.ChunkedArray) -> Payloads:
    """Payloads where equal ones share the same bytes, as in the file."""
    start, captured, pieces, held = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int32)], [b""], 0
    for chunk in column.chunks:
        distinct = _payloads(pa.chunked_array([chunk.dictionary], type=chunk.type.value_type))
        which = chunk.indices.to_numpy(zero_copy_only=False)
        start.append(distinct.start[which] + held)
        captured.append(distinct.captured[which])
        pieces.append(distinct.data.tobytes())
        held += len(distinct.data)
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    return Payloads(data, np.concatenate(start), np.concatenate(captured))


__all__ = ["VERSION", "from_table", "read_trace", "to_table", "write_trace"]
