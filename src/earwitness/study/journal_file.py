"""The SQLite file of a study's journal: its schema, and the translation of SQLite's errors."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.utc import utc_text

JOURNAL_VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
    position INTEGER PRIMARY KEY, block TEXT NOT NULL, repeat INTEGER NOT NULL, arm TEXT NOT NULL, plan TEXT NOT NULL,
    tor_bytes REAL NOT NULL, state TEXT NOT NULL DEFAULT 'planned', attempts INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '', instrument_ok INTEGER, why TEXT NOT NULL DEFAULT '',
    call_id TEXT NOT NULL DEFAULT ''
);
CREATE INDEX calls_by_state ON calls (state, arm);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, position INTEGER NOT NULL, attempt INTEGER NOT NULL, call_id TEXT NOT NULL,
    run INTEGER NOT NULL, state TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT NOT NULL DEFAULT '',
    seconds REAL, outcome TEXT NOT NULL DEFAULT '', instrument_ok INTEGER, why TEXT NOT NULL DEFAULT ''
);
CREATE INDEX attempts_by_position ON attempts (position);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT NOT NULL DEFAULT '',
    ending TEXT NOT NULL DEFAULT ''
);
"""


class DamagedJournal(EarwitnessError):
    """The journal's database is damaged; it can be rebuilt from the data set."""

    def __init__(self, path: Path, happened: object) -> None:
        super().__init__(
            "opening the journal", path, happened, "run the study again: the journal is rebuilt from the data set"
        )


def remove_database(path: Path) -> None:
    """Remove a database and SQLite's files beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def now() -> str:
    """The time in UTC."""
    return utc_text(time.time_ns(), 3)


_STORAGE_FAILS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Translate SQLite's errors into `EarwitnessError`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = "close whatever has it open for writing, and run it again"
            raise EarwitnessError("writing the journal", path, "another program has locked it", remedy) from error
        if code in _STORAGE_FAILS:
            raise CallFailure(
                Outcome.STORAGE_FAILED,
                "writing the journal",
                on=path,
                happened=error,
                remedy="free some space or give a writable directory, and run it again",
            ) from error
        raise DamagedJournal(path, error) from error
    except sqlite3.DatabaseError as error:
        raise DamagedJournal(path, error) from error
