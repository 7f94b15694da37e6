"""SQL over a data set: its rows, packets, frames, the lab's log, and the study's journal, by DuckDB."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from earwitness.archive.dataset import Dataset
from earwitness.archive.index import survey
from earwitness.archive.layout import CALLS, TRUTH, ledger_file, trace_file
from earwitness.errors import InputError
from earwitness.study.lock import JOURNAL, STUDY

TABLES: dict[str, str] = {
    "calls": "one row a call and direction, as in docs/data-dictionary.md",
    "packets": "every RTP packet of every call: sent and arrived, ns",
    "frames": "what became of every frame, and what filled every gap (the ears' ledgers)",
    "truth": "the lab emulator's log of every packet",
    "planned": "the study's planned calls and where they stand",
    "attempts": "every attempt at a planned call",
}
"""What can be asked; those of files that the data set does not have are absent."""

_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_PER_CALL = {"packets": trace_file("*"), "frames": ledger_file("*"), "truth": TRUTH}
_OF_JOURNAL = {"planned": "calls", "attempts": "attempts"}


@dataclass(frozen=True)
class Answer:
    """What a question gave: column names, and rows of plain values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query(directory: Path, sql: str) -> Answer:
    """Ask the data set a question; `TABLES` says of what. Nothing in the data set can be changed by it.

    Raises InputError where there is no data set, or with DuckDB's word on the question.
    """
    path = Dataset.open(directory).path
    with duckdb.connect(":memory:") as database:
        database.register("calls", survey(path)[0])
        for name, pattern in _PER_CALL.items():
            if next((path / CALLS).glob(f"*/{pattern}"), None) is not None:
                database.execute(_view(name, path, pattern))
        for name, table in _journal_tables(path / STUDY / JOURNAL).items():
            database.register(name, table)
        # From here on it reads the data set alone.
        database.execute(f"SET allowed_directories = [{_quoted(str(path.resolve()) + '/')}]")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        try:
            if any(statement.type not in _READING for statement in database.extract_statements(sql)):
                raise InputError("asking", path, "it would change something", "ask with SELECT, DESCRIBE or SHOW")
            answer = database.execute(sql)
            columns = tuple(column[0] for column in answer.description or ())
            return Answer(columns, answer.fetchall() if columns else [])
        except duckdb.Error as error:
            tables = [str(row[0]) for row in database.execute("SHOW TABLES").fetchall()]
            raise InputError(
                "asking", path, " ".join(str(error).split()), f"ask of the tables {', '.join(tables)}"
            ) from error


def _view(name: str, path: Path, pattern: str) -> str:
    """A view of one kind of file of every call, with the call's name, and the direction where the file has one."""
    files = _quoted(f"{path.resolve()}/{CALLS}/*/{pattern}")
    call = r"regexp_extract(filename, '.*/([^/]+)/[^/]+$', 1) AS call_id"
    direction = r", regexp_extract(filename, '.*/([a-z_]+)\.[^/]*$', 1) AS direction" if "*" in pattern else ""
    return (
        f"CREATE VIEW {name} AS SELECT {call}{direction}, * EXCLUDE (filename)"
        f" FROM read_parquet({files}, filename = true, union_by_name = true)"
    )


def _journal_tables(journal: Path) -> dict[str, pa.Table]:
    if not journal.is_file():
        return {}
    with sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True) as database:
        tables = {}
        for name, stored in _OF_JOURNAL.items():
            cursor = database.execute(f"SELECT * FROM {stored}")
            columns = [column[0] for column in cursor.description]
            tables[name] = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in cursor])
    database.close()
    return tables


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
