"""SQL over a data set: its rows, packets, frames, the lab's log, and the study's journal, by DuckDB."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from earwitness.archive.dataset import Dataset
from earwitness.archive.index import survey, with_score_columns
from earwitness.archive.layout import CALLS, DIRECTIONS, TRUTH, ledger_file, trace_file
from earwitness.archive.problems import Problem, apart
from earwitness.errors import InputError
from earwitness.study.lock import JOURNAL, STUDY

_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_PER_CALL = {"packets": trace_file("*"), "frames": ledger_file("*"), "truth": TRUTH}
_OF_JOURNAL = {"planned": "calls", "attempts": "attempts"}


_MOST_ROWS = 1_000_000
"""Of the journal's tables."""
_STEPS_AT_ONCE = 10_000
_LONGEST_WORD = 1000
_MOST_STEPS = 200_000_000
"""SQLite virtual-machine instructions allowed for reading one of them, which stops views that never end."""


@dataclass(frozen=True)
class Answer:
    """The result of a query: column names, and rows of plain values. `problems`: what was left out, and why."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    problems: tuple[Problem, ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """One dictionary per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query(directory: Path, sql: str) -> Answer:
    """Run a read-only SQL query over the data set.

    Tables: `calls` (one row per call and direction, as in docs/data-dictionary.md), `packets` (every RTP packet of
    every call: sent and arrived, ns), `frames` (the fate of every frame, and what filled every gap: the ears' ledgers),
    `truth` (the lab emulator's log of every packet), and for a study `planned` (its planned calls and their states) and
    `attempts` (every attempt at one). A table is absent if the data set has none of its files.

    Calls and files that cannot be read are left out, and listed with the result. Raises InputError if there is no
    data set, or if DuckDB rejects the query.
    """
    path = Dataset.open(directory).path
    rows, problems = survey(path)
    calls = list(dict.fromkeys(rows.column("call_id").to_pylist()))
    try:
        return _asked(path, sql, rows, {name: _files(path, calls, kind) for name, kind in _PER_CALL.items()}, problems)
    except _Unreadable:
        # Finding the unreadable file means reading all of them, so it is done only after a failure.
        sound = {name: _sound(_files(path, calls, kind), problems) for name, kind in _PER_CALL.items()}
        return _asked(path, sql, rows, sound, problems)


class _Unreadable(InputError):
    """DuckDB could not read one of the calls' files."""


def _asked(path: Path, sql: str, rows: pa.Table, files: dict[str, list[Path]], problems: list[Problem]) -> Answer:
    try:
        with duckdb.connect(":memory:") as database:
            database.register("calls", with_score_columns(rows))
            for name, of_calls in files.items():
                if of_calls:
                    database.execute(_view(name, of_calls, "*" in _PER_CALL[name]))
            for name, table in _journal_tables(path / STUDY / JOURNAL, problems).items():
                database.register(name, table)
            # From here on, DuckDB can read only the data set.
            database.execute(f"SET allowed_directories = [{_quoted(str(path.resolve()) + '/')}]")
            database.execute("SET enable_external_access = false")
            database.execute("SET lock_configuration = true")
            try:
                if any(statement.type not in _READING for statement in database.extract_statements(sql)):
                    raise InputError("asking", path, "it would change something", "ask with SELECT, DESCRIBE or SHOW")
                answer = database.execute(sql)
                columns = tuple(column[0] for column in answer.description or ())
                found = answer.fetchall() if columns else []
                return Answer(columns, found, tuple(dict.fromkeys(problems)))
            except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
                tables = [str(row[0]) for row in database.execute("SHOW TABLES").fetchall()]
                raise InputError("asking", path, _line(error), f"ask of the tables {', '.join(tables)}") from error
    except (duckdb.Error, UnicodeError) as error:
        kind = _Unreadable if any(files.values()) else InputError
        raise kind("asking", path, _line(error), "correct the query, or the file that it names") from error


def _files(path: Path, calls: list[str], kind: str) -> list[Path]:
    """The calls' regular files of one kind, sorted; on a pipe DuckDB would wait for ever."""
    names = [kind.replace("*", direction) for direction in DIRECTIONS] if "*" in kind else [kind]
    every = (path.resolve() / CALLS / call / name for call in calls for name in names)
    return [file for file in every if file.is_file()]


def _sound(files: list[Path], problems: list[Problem]) -> list[Path]:
    """The files that DuckDB can read completely."""
    sound = []
    with duckdb.connect(":memory:") as database:
        for file in files:
            with apart(file.parent.name, problems, without=file.name):
                columns = database.execute(f"DESCRIBE SELECT * FROM read_parquet({_quoted(str(file))})").fetchall()
                # DuckDB may take a count from the footer; a hash needs every page.
                hashes = ", ".join(f'max(hash("{str(name).replace(chr(34), chr(34) * 2)}"))' for name, *_ in columns)
                database.execute(f"SELECT {hashes} FROM read_parquet({_quoted(str(file))})").fetchall()
                sound.append(file)
    # One file with other column types would break the view of all files.
    kinds = {file: tuple(pq.read_schema(file)) for file in sound}
    known: dict[str, pa.DataType] = {}
    for file in sound:
        for field in kinds[file]:
            known.setdefault(field.name, field.type)
    alike = []
    for file in sound:
        if all(known[field.name] == field.type for field in kinds[file]):
            alike.append(file)
        else:
            problems.append(Problem(file.parent.name, f"without {file.name}: its columns are of other types", False))
    return alike


def _view(name: str, files: list[Path], directed: bool) -> str:
    """A view of one kind of file over all calls, with the call's name and, if the file has one, the direction."""
    call = r"regexp_extract(filename, '.*/([^/]+)/[^/]+$', 1) AS call_id"
    direction = r", regexp_extract(filename, '.*/([a-z_]+)\.[^/]*$', 1) AS direction" if directed else ""
    return (
        f"CREATE VIEW {name} AS SELECT {call}{direction}, * EXCLUDE (filename)"
        f" FROM read_parquet([{', '.join(_quoted(str(file)) for file in files)}],"
        " filename = true, union_by_name = true)"
    )


def _journal_tables(journal: Path, problems: list[Problem]) -> dict[str, pa.Table]:
    """Add the journal's tables; one that cannot be read is left out and reported."""
    tables: dict[str, pa.Table] = {}
    if not journal.is_file():
        return tables
    with (
        apart(f"../{STUDY}/{JOURNAL}", problems, without="planned and attempts"),
        closing(_opened(journal)) as database,
    ):
        for name, stored in _OF_JOURNAL.items():
            found = database.execute("SELECT type FROM sqlite_master WHERE name = ?", (stored,)).fetchone()
            if found is None or found[0] != "table":
                raise InputError("reading", journal, f"it has no table {stored}", "restore it")
            cursor = database.execute(f"SELECT * FROM {stored} LIMIT {_MOST_ROWS}")
            columns = [column[0] for column in cursor.description]
            tables[name] = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in cursor])
    return tables


def _opened(journal: Path) -> sqlite3.Connection:
    """Open an untrusted journal for reading."""
    database = sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True)
    database.execute("PRAGMA trusted_schema = OFF")
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    steps = iter(range(_MOST_STEPS // _STEPS_AT_ONCE))
    database.set_progress_handler(lambda: next(steps, None) is None, _STEPS_AT_ONCE)
    return database


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_WORD]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
