"""The journal of a study: the state of each planned call, every attempt at it, and the reasons.

SQLite in WAL mode, in `DIR/study/` beside the data set's calls. The data set takes precedence: a call counts if, and
only if, it is stored there, whatever the journal says; `earwitness.study.folder.reconcile` corrects the journal at the
start of each run. So commits need not wait for the disk (synchronous=NORMAL): a power failure may lose the last ones,
but never the journal's consistency.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from earwitness.errors import EarwitnessError, InputError, Outcome
from earwitness.study.design import PlannedCall
from earwitness.study.journal_file import JOURNAL_VERSION, SCHEMA, DamagedJournal, now, remove_database, typed_errors
from earwitness.study.model import Retry
from earwitness.study.retry import Ended, Next, decide

_BUSY_TIMEOUT_S = 5.0
_CHECKPOINT_PAGES = 4000
"""16 MiB of log. A checkpoint waits for the disk, so only about one commit in 400 does one."""


@dataclass(frozen=True)
class CallState:
    """The state of one planned call."""

    position: int
    state: str
    attempts: int
    """Number of attempts stored in the data set."""


class Journal:
    """An open journal. One process writes (`earwitness.study.lock`); others may read at the same time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self.run = 0

    # -- opening -------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, frozen: dict[str, Any], calls: Iterable[PlannedCall]) -> Self:
        """Create a journal with every call planned, atomically. Raises EarwitnessError."""
        from earwitness.study.cost import tor_bytes_of  # imports the codecs, which `status` does not need

        draft = path.with_name(f".{path.name}.new")
        remove_database(draft)
        with typed_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(draft)
            try:
                database.executescript(f"BEGIN; {SCHEMA}")
                database.execute("INSERT INTO meta VALUES ('version', ?)", (str(JOURNAL_VERSION),))
                database.execute("INSERT INTO meta VALUES ('frozen', ?)", (json.dumps(frozen, sort_keys=True),))
                rows = (
                    (c.position, c.block, c.repeat, c.arm, json.dumps(c.plan.to_dict()), tor_bytes_of(c.plan))
                    for c in calls
                )
                columns = "position, block, repeat, arm, plan, tor_bytes"
                database.executemany(f"INSERT INTO calls ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
                database.commit()
            finally:
                database.close()
            draft.replace(path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open an existing journal.

        Raises:
            InputError: there is none, or it is of another version.
            DamagedJournal: the database is damaged.
        """
        if not path.is_file():
            raise InputError("opening the journal", path, "there is none", "give the directory of a study that was run")
        with typed_errors(path):
            connection = sqlite3.connect(
                f"file:{path}?mode={'ro' if read_only else 'rw'}",
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
            )
            try:
                if not read_only:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute("PRAGMA synchronous=NORMAL")
                    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
                    (sound,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                    if sound != "ok":
                        raise DamagedJournal(path, sound)
                (text,) = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() or ("",)
                if not str(text).isdecimal():
                    raise DamagedJournal(path, "it does not say its version")
                version = int(text)
            except BaseException:
                connection.close()
                raise
        if version > JOURNAL_VERSION:
            connection.close()
            remedy = "use the Earwitness that wrote it"
            raise InputError("opening the journal", path, f"its version is {version}, not {JOURNAL_VERSION}", remedy)
        return cls(path, connection)

    def close(self) -> None:
        """Close it; SQLite then merges its files into one."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    # -- reading -------------------------------------------------------------------------------------

    def frozen(self) -> dict[str, Any]:
        """The design and the stopping rule that the journal was made for."""
        (text,) = self._one("SELECT value FROM meta WHERE key = 'frozen'")
        return dict(json.loads(text))

    def states(self) -> list[CallState]:
        """Every planned call in order."""
        return [CallState(*row) for row in self._all("SELECT position, state, attempts FROM calls ORDER BY position")]

    def past(self, position: int) -> list[Ended]:
        """How the attempts at a call ended, in order."""
        rows = self._all(
            "SELECT outcome, instrument_ok FROM attempts WHERE position = ? AND state = 'ended' ORDER BY attempt",
            position,
        )
        return [Ended(Outcome(outcome), None if ok is None else bool(ok)) for outcome, ok in rows]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of an SQL query; for the schema see `earwitness.study.journal_file`."""
        return self._all(query, *values)

    # -- writing -------------------------------------------------------------------------------------

    def begin_run(self, owner: str) -> int:
        """Record the start of a run; returns its number."""
        with self._writing():
            cursor = self._db.execute("INSERT INTO runs (owner, started_at) VALUES (?, ?)", (owner, now()))
        self.run = int(cursor.lastrowid or 0)
        return self.run

    def end_run(self, ending: str) -> None:
        """Record why the run ended."""
        with self._writing():
            self._db.execute("UPDATE runs SET ended_at = ?, ending = ? WHERE id = ?", (now(), ending, self.run))

    def begin(self, call: PlannedCall) -> int:
        """Record the start of an attempt; returns the attempt's number."""
        with self._writing():
            row = self._db.execute("SELECT state, attempts FROM calls WHERE position = ?", (call.position,)).fetchone()
            if row is None or row[0] != "planned":
                raise EarwitnessError("placing call", call.position, f"it is {row and row[0]}", "report this fault")
            attempt = row[1] + 1
            self._db.execute("UPDATE calls SET state = 'running' WHERE position = ?", (call.position,))
            self._db.execute(
                "INSERT INTO attempts (position, attempt, call_id, run, state, started_at)"
                " VALUES (?, ?, ?, ?, 'running', ?)",
                (call.position, attempt, call.call_id(attempt), self.run, now()),
            )
        return int(attempt)

    def end(
        self,
        position: int,
        call_id: str,
        ended: Ended,
        retry: Retry,
        *,
        why: str = "",
        seconds: float | None = None,
    ) -> Next:
        """Record how a stored attempt ended, and the new state of its call."""
        with self._writing():
            self._db.execute(
                "UPDATE attempts SET state = 'ended', ended_at = ?, outcome = ?, instrument_ok = ?, why = ?,"
                " seconds = ? WHERE call_id = ? AND state = 'running'",
                (now(), str(ended.outcome), _flag(ended.instrument_ok), why, seconds, call_id),
            )
            return self._settle(position, retry)

    def lose(self, position: int, call_id: str, why: str, retry: Retry) -> Next:
        """Record that an attempt was not stored; it does not count."""
        with self._writing():
            self._db.execute(
                "UPDATE attempts SET state = 'lost', ended_at = ?, why = ? WHERE call_id = ? AND state != 'lost'",
                (now(), why, call_id),
            )
            return self._settle(position, retry)

    def adopt(self, position: int, attempt: int, call_id: str, ended: Ended, why: str, retry: Retry) -> Next:
        """Record a stored attempt whose end is missing from the journal."""
        with self._writing():
            self._db.execute("DELETE FROM attempts WHERE call_id = ? AND state != 'lost'", (call_id,))
            self._db.execute(
                "INSERT INTO attempts (position, attempt, call_id, run, state, started_at, ended_at, outcome,"
                " instrument_ok, why) VALUES (?, ?, ?, ?, 'ended', ?, ?, ?, ?, ?)",
                (
                    position,
                    attempt,
                    call_id,
                    self.run,
                    now(),
                    now(),
                    str(ended.outcome),
                    _flag(ended.instrument_ok),
                    why,
                ),
            )
            return self._settle(position, retry)

    def attempts(self, states: Sequence[str]) -> list[tuple[int, int, str, str]]:
        """Position, attempt, call id and state of the attempts in these states."""
        marks = ", ".join("?" * len(states))
        return [
            (int(position), int(attempt), str(call_id), str(state))
            for position, attempt, call_id, state in self._all(
                f"SELECT position, attempt, call_id, state FROM attempts WHERE state IN ({marks})", *states
            )
        ]

    def _settle(self, position: int, retry: Retry) -> Next:
        """Update a call's row from its attempts."""
        rows = self._db.execute(
            "SELECT outcome, instrument_ok, why, call_id, attempt FROM attempts WHERE position = ? AND state = 'ended'"
            " ORDER BY attempt",
            (position,),
        ).fetchall()
        past = [Ended(Outcome(row[0]), None if row[1] is None else bool(row[1])) for row in rows]
        follows = decide(past, retry)
        # A done call counts by its completed attempt, even if a later one failed.
        completed = [row for row in rows if row[0] == Outcome.COMPLETED]
        shown = (completed or rows or [("", None, "", "", 0)])[-1]
        self._db.execute(
            "UPDATE calls SET state = ?, attempts = ?, outcome = ?, instrument_ok = ?, why = ?, call_id = ?"
            " WHERE position = ?",
            (follows.state, max((row[4] for row in rows), default=0), *shown[:4], position),
        )
        return follows

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with typed_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with typed_errors(self.path):
            return self._db.execute(query, values).fetchall()

    def _one(self, query: str) -> tuple[Any, ...]:
        return self._all(query)[0]


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)
