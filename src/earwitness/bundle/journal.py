"""Copies a study's journal into a bundle, row by row, with pseudonyms if asked for."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from earwitness.bundle.masked import mask_plan
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.bundle.reading import LARGEST_FILE
from earwitness.files import OpenFolder, copy_out
from earwitness.study.journal_file import SCHEMA
from earwitness.study.lock import JOURNAL

_JOURNAL_TABLES = ("meta", "calls", "attempts", "runs")
_JOURNAL_META = ("version", "frozen")


@contextmanager
def copied_journal(study: OpenFolder, near: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy of the study's journal, including SQLite's side files; the original is not touched.

    Raises UnfitFile if one of its files is not a regular file, sqlite3.DatabaseError if it is not a valid database.
    """
    place = near / ".journal"
    place.mkdir()
    try:
        for suffix in ("", "-wal"):
            try:
                with study.open(JOURNAL + suffix, LARGEST_FILE) as file:
                    copy_out(file, place / (JOURNAL + suffix))
            except FileNotFoundError:
                continue
        with closing(sqlite3.connect(place / JOURNAL)) as journal:
            journal.execute("PRAGMA trusted_schema = OFF")
            yield journal
    finally:
        shutil.rmtree(place)


def write_journal(source: sqlite3.Connection, target: Path, masks: Pseudonyms | None) -> None:
    """Copy the journal's known tables and columns row by row; with `masks`, under pseudonyms."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        made.executescript(SCHEMA)
        for table in _JOURNAL_TABLES:
            columns = [row[1] for row in made.execute(f"PRAGMA table_info({table})")]
            marks = ", ".join("?" * len(columns))
            for row in source.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                values = dict(zip(columns, row, strict=True))
                if table == "meta" and values["key"] not in _JOURNAL_META:
                    continue
                if masks is not None:
                    values = {name: _masked_value(name, value, masks) for name, value in values.items()}
                made.execute(f"INSERT INTO {table} VALUES ({marks})", tuple(values.values()))
        made.execute("VACUUM INTO ?", (str(target),))


def _masked_value(column: str, value: object, masks: Pseudonyms) -> object:
    if isinstance(value, bytes):
        return ""
    if not isinstance(value, str):
        return value
    if column == "call_id":
        return masks.call_id(value) if value else value
    if column == "plan":
        try:
            return json.dumps(mask_plan(json.loads(value), masks))
        except (ValueError, TypeError, AttributeError, RecursionError):
            return masks.text(value)
    return masks.json(value) if column in ("owner", "value") else masks.text(value)
