"""The index of a data set: calls.parquet and calls.csv, one row a call and direction, made from the records alone."""

from __future__ import annotations

import csv
import io
import os
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from earwitness.archive.codec import to_plain
from earwitness.archive.layout import CALLS, DIRECTIONS, INDEX_CSV, INDEX_PARQUET
from earwitness.archive.record import CallRecord, read_record
from earwitness.archive.schema import SCHEMA_VERSION, Row, columns
from earwitness.archive.spreadsheet import cell
from earwitness.archive.staging import write_atomically
from earwitness.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Problem:
    """A call folder that cannot be read, and why; or one read with something left out."""

    call_id: str
    what: str
    skipped: bool = True
    """Whether the call is missing from the rows because of it."""


def arrow_schema() -> pa.Schema:
    """The columns of calls.parquet; unit, definition and source travel as field metadata."""
    hints = typing.get_type_hints(Row)
    fields = []
    for column in columns():
        kinds = [kind for kind in (typing.get_args(hints[column.name]) or (hints[column.name],)) if kind in _ARROW]
        about = {key: text for key, text in column.metadata.items() if text}
        fields.append(pa.field(column.name, _ARROW[kinds[0]], metadata=about))
    return pa.schema(fields, metadata={"earwitness_schema_version": str(SCHEMA_VERSION)})


def rows_of(record: CallRecord) -> tuple[Row, ...]:
    """The rows of a record; a call that failed before it had any gets one a direction with what is known of it."""
    return record.rows or tuple(skeleton_row(record, direction) for direction in DIRECTIONS)


def skeleton_row(record: CallRecord, direction: str) -> Row:
    """A row with everything that the record itself tells, and no measurement."""
    failed = record.outcome != "completed"
    return Row(
        call_id=record.call_id,
        started_at=record.started_at,
        network=record.network,
        path=record.path,
        hops=len(record.circuit.relays) or None,
        circuit=" > ".join(f"{relay.nickname}@{relay.place}" for relay in record.circuit.relays),
        codec=record.codec,
        from_place=record.caller.place,
        to_place=record.callee.place,
        phone=record.phone,
        seed=record.seed,
        outcome=str(record.outcome),
        outcome_detail=record.outcome_detail,
        direction=direction,
        verdict="failed" if failed else "",
        verdict_reason=record.outcome_detail if failed else "",
        speech=record.speech.name,
    )


def survey(root: Path, use_index: bool = True) -> tuple[pa.Table, list[Problem]]:
    """All rows of a data set, in order of start, and the folders that could not be read.

    The index is believed for the calls in it; the records of all others are read. `use_index=False` reads every record.
    """
    present = _call_ids(root)
    table = _read_index(root) if use_index else None
    problems: list[Problem] = []
    fresh: list[dict[str, Any]] = []
    known: set[str] = set()
    if table is not None:
        ids = table.column("call_id").to_pylist()
        known = set(ids)
        if not known <= present:
            table = table.filter(pa.array([call_id in present for call_id in ids], pa.bool_()))
    for call_id in sorted(present - known):
        notes: list[str] = []
        try:
            record = read_record(root / CALLS / call_id, notes)
        except InputError as error:
            problems.append(Problem(call_id, error.happened))
            continue
        problems.extend(Problem(call_id, note, skipped=False) for note in notes)
        fresh.extend(to_plain(row) for row in rows_of(record))
    schema = arrow_schema()
    added = pa.Table.from_pylist(fresh, schema=schema)
    table = added if table is None else pa.concat_tables([table, added])
    return table.sort_by([("started_at", "ascending"), ("call_id", "ascending"), ("direction", "ascending")]), problems


def write_index(root: Path, table: pa.Table) -> None:
    """Write both forms of the index, each in one step. Call with the data set's lock held."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(root / INDEX_PARQUET, buffer.getvalue(), durable=False)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):  # Python's objects take 20 times Arrow's memory
        writer.writerows(zip(*map(_csv_cells, batch.columns), strict=True))
    write_atomically(root / INDEX_CSV, text.getvalue().encode(), durable=False)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The rows with typed columns: string, Int64, Float64, boolean; a missing value is pandas.NA."""
    import pandas as pd  # half a second, for which no call need wait

    types = {
        pa.string(): pd.StringDtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame: pd.DataFrame = table.to_pandas(types_mapper=types.get)
    return frame


def _csv_cells(column: pa.Array) -> Iterable[Any]:
    """Booleans as JSON writes them; a missing value is empty; floats keep every digit (repr); no text is a formula."""
    values = column.to_pylist()
    if column.type == pa.string():  # of which there are few different ones
        texts = {value: cell(value or "") for value in set(values)}
        return map(texts.__getitem__, values)
    return map(_csv_number, values)


def _csv_number(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _read_index(root: Path) -> pa.Table | None:
    """The index, or nothing where there is none that this version wrote whole."""
    try:
        table = pq.read_table(root / INDEX_PARQUET)
    except (OSError, pa.ArrowException):
        return None
    return table if table.schema.equals(arrow_schema(), check_metadata=False) else None


def _call_ids(root: Path) -> set[str]:
    try:
        with os.scandir(root / CALLS) as entries:
            return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise InputError("reading the data set", root, error.strerror, "see that you may read it") from None
