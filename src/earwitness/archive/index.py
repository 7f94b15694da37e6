"""The index of a data set: calls.parquet and calls.csv, one row per call and direction, derived from the records."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import stat
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earwitness.archive.codec import Mismatch, loads, to_plain
from earwitness.archive.layout import CALLS, DIRECTIONS, INDEX_CSV, INDEX_PARQUET, is_call_id
from earwitness.archive.problems import Problem, apart, encodable
from earwitness.archive.record import read_record
from earwitness.archive.rows import record_rows
from earwitness.archive.schema import SCHEMA_VERSION, Row, columns, is_scores
from earwitness.archive.spreadsheet import cell
from earwitness.archive.staging import write_atomically
from earwitness.errors import InputError
from earwitness.trace.parquet import read_plain

if TYPE_CHECKING:
    import pandas as pd

_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
SCORES = "scores"
"""The column of additional scorers' figures: a JSON object as text, because tables have no nested columns."""
_ROWS_AT_ONCE = 1000
_LONGEST_NAME = 130


@functools.cache
def arrow_schema() -> pa.Schema:
    """The columns of calls.parquet, with unit, definition and source as field metadata."""
    hints = typing.get_type_hints(Row)
    fields = []
    for column in columns():
        given = (str,) if column.name == SCORES else typing.get_args(hints[column.name]) or (hints[column.name],)
        kinds = [kind for kind in given if kind in _ARROW]
        about = {key: text for key, text in column.metadata.items() if isinstance(text, str) and text}
        fields.append(pa.field(column.name, _ARROW[kinds[0]], metadata=about))
    return pa.schema(fields, metadata={"earwitness_schema_version": str(SCHEMA_VERSION)})


def survey(root: Path, use_index: bool = True) -> tuple[pa.Table, list[Problem]]:
    """All rows of a data set, in order of start, and the folders that could not be read.

    The index is used for the calls in it if it is consistent with what records can contain (`_believable`); for all
    other calls the records are read. `use_index=False` reads every record.
    """
    problems: list[Problem] = []
    present = _call_ids(root, problems)
    table = _read_index(root, len(present)) if use_index else None
    fresh: list[dict[str, Any]] = []
    known: set[str] = set()
    if table is not None:
        ids = table.column("call_id").to_pylist()
        known = set(ids)
        if not known <= present:
            table = table.filter(pa.array([call_id in present for call_id in ids], pa.bool_()))
    for call_id in sorted(present - known):
        with apart(call_id, problems):
            notes: list[str] = []
            record = read_record(root / CALLS / call_id, notes)
            fresh.extend(_plain(row) for row in record_rows(record))
            problems.extend(Problem(call_id, note, skipped=False) for note in notes)
    schema = arrow_schema()
    added = pa.Table.from_pylist(fresh, schema=schema)  # cannot fail: the codec has checked the values
    table = added if table is None else pa.concat_tables([table, added])
    return table.sort_by([("started_at", "ascending"), ("call_id", "ascending"), ("direction", "ascending")]), problems


def _plain(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(row)
    return {**plain, SCORES: json.dumps(plain[SCORES], sort_keys=True) if plain[SCORES] else ""}


def with_score_columns(table: pa.Table) -> pa.Table:
    """The rows with one column per additional scorer, named after it, following all others."""
    if not pc.any(pc.not_equal(table.column(SCORES), "")).as_py():
        return table
    found: list[Mapping[str, float]] = [json.loads(text) if text else {} for text in table.column(SCORES).to_pylist()]
    for name in sorted({name for scores in found for name in scores}):
        table = table.append_column(name, pa.array([scores.get(name) for scores in found], pa.float64()))
    return table


def write_index(root: Path, table: pa.Table) -> None:
    """Write both forms of the index, each atomically. Call it with the data set's lock held."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(root / INDEX_PARQUET, buffer.getvalue(), durable=False)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    wide = with_score_columns(table)
    writer.writerow(wide.column_names)
    for batch in wide.to_batches(max_chunksize=_ROWS_AT_ONCE):  # Python objects take 20 times the memory of Arrow's
        writer.writerows(zip(*map(_csv_cells, batch.columns), strict=True))
    write_atomically(root / INDEX_CSV, text.getvalue().encode(), durable=False)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The rows with typed columns: string, Int64, Float64, boolean; a missing value is pandas.NA.

    Each additional scorer has a column, named after it, following all others.
    """
    import pandas as pd  # takes half a second, which a call should not wait for

    types = {
        pa.string(): pd.StringDtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame: pd.DataFrame = with_score_columns(table).to_pandas(types_mapper=types.get)
    return frame


def _csv_cells(column: pa.Array) -> Iterable[Any]:
    """Booleans as in JSON, missing values empty, floats with all digits (repr), no text that is a formula."""
    values = column.to_pylist()
    if column.type == pa.string():  # few distinct values
        texts = {value: cell(value or "") for value in set(values)}
        return map(texts.__getitem__, values)
    return map(_csv_number, values)


def _csv_number(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _read_index(root: Path, calls: int) -> pa.Table | None:
    """The index; None if there is none, if it is invalid, or if it has far more rows than this number of calls."""
    try:
        # It may still list removed calls; if it lists too many, rebuilding it is faster than reading it.
        table = read_plain(root / INDEX_PARQUET, "reading the index", "remove it")
        table.validate(full=True)
    except (InputError, pa.ArrowException):
        return None
    few = table.num_rows <= 4 * calls + _ROWS_AT_ONCE
    return table if few and table.schema.equals(arrow_schema(), check_metadata=False) and _believable(table) else None


def _believable(table: pa.Table) -> bool:
    """Whether every row could come from a record: figures in range, each direction once per call."""
    for column in columns():
        bounds, values = column.metadata.get("range"), table.column(column.name)
        if bounds is not None and values.null_count < len(values):
            if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values)).as_py():
                return False
            ends = pc.min_max(values).as_py()
            if not bounds[0] <= ends["min"] <= ends["max"] <= bounds[1]:
                return False
        elif pa.types.is_string(values.type) and (
            values.null_count or (pc.max(pc.utf8_length(values)).as_py() or 0) > column.metadata["longest"]
        ):
            return False  # a row's texts are never null
    if not all(_are_scores(text) for text in pc.unique(table.column(SCORES)).to_pylist()):
        return False
    directions = table.column("direction")
    ends = pc.binary_join_element_wise(table.column("call_id"), directions, " ")
    once = len(pc.unique(ends)) == len(ends)
    return once and set(pc.unique(directions).to_pylist()) <= set(DIRECTIONS)


def _are_scores(text: str) -> bool:
    if not text:
        return True
    try:
        scores = loads(text)
    except Mismatch:
        return False
    return isinstance(scores, dict) and is_scores(scores)


def _call_ids(root: Path, problems: list[Problem]) -> set[str]:
    """The names of the call folders; other entries among them are added to `problems`."""
    found = set()
    try:
        with os.scandir(root / CALLS) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    if not entry.is_file():
                        problems.append(
                            Problem(encodable(entry.name), f"it is {_kind(entry)}, not the folder of a call")
                        )
                elif is_call_id(entry.name):
                    found.add(entry.name)
                else:
                    problems.append(Problem(encodable(entry.name)[:_LONGEST_NAME], "no call can have this name"))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise InputError("reading the data set", root, error.strerror, "check that you may read it") from None
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    mode = entry.stat(follow_symlinks=False).st_mode
    return "a link to nothing" if stat.S_ISLNK(mode) else "a pipe, socket or device"
