"""The data set: a directory of calls, each stored whole or not at all, and an index that can always be rebuilt."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from earwitness.archive import layout
from earwitness.archive.codec import loads
from earwitness.archive.index import survey, to_frame, write_index
from earwitness.archive.problems import Problem, apart
from earwitness.archive.record import CallRecord, read_record, write_record
from earwitness.archive.schema import SCHEMA_VERSION
from earwitness.archive.staging import commit, dataset_lock, remove_stale, staged, write_atomically
from earwitness.archive.stored import StoredCall
from earwitness.archive.storing import FolderGone, folder_identity, gone, storing
from earwitness.errors import EarwitnessError, InputError
from earwitness.files import MIB, UnfitFile, is_utf8, path_text, read_regular
from earwitness.trace.container import is_capture
from earwitness.utc import utc_text
from earwitness.version import __version__

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = (
    "call_id",
    "path",
    "hops",
    "codec",
    "from_place",
    "to_place",
    "direction",
    "outcome",
    "verdict",
    "mos_lqo",
    "mos_cqe",
    "mouth_to_ear_ms",
    "loss_ratio",
    "late_ratio",
)
"""Columns of a data set shown in a notebook; `rows` has all."""
_MOST_ROWS_SHOWN = 20


class Dataset:
    """A data set directory. Several processes may add calls at the same time.

    The records under calls/ are authoritative; calls.parquet and calls.csv are derived from them. When adding calls,
    use it as a context manager (or call `close`), so that the index finally holds every call. Meanwhile the index is
    updated at least each time the data set has grown by 2 % (doubled, if it is not durable), so that the work stays
    proportional to the number of calls.
    """

    def __init__(self, path: Path, durable: bool = True) -> None:
        self.path = path
        self.durable = durable
        self._added = 0
        self._indexed = 0
        self._folder = folder_identity(path)

    @classmethod
    def open(cls, directory: Path | str) -> Dataset:
        """Open an existing data set for reading or adding; raises InputError if there is none."""
        path = _nameable(directory)
        about = path / layout.DATASET_FILE
        try:
            plain = loads(read_regular(about, MIB))
            version = plain["schema_version"]
        except FileNotFoundError:
            raise InputError("opening the data set", path, "there is none", "give the directory of one") from None
        except NotADirectoryError:
            raise _no_directory(path) from None
        except UnfitFile as error:
            raise InputError("opening the data set", about, error.strerror, "restore it") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError("opening the data set", path, f"{about.name} is damaged: {error}", "restore it") from None
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            remedy = f"use Earwitness {plain.get('earwitness', 'of a later version')!s:.40} or later"
            raise InputError("opening the data set", path, f"its layout is version {version}", remedy)
        return cls(path)

    @classmethod
    def open_or_create(cls, directory: Path | str, *, durable: bool = True) -> Dataset:
        """Open a data set for adding calls; creates it if necessary, and removes unfinished calls of killed runs.

        `durable`: wait until each call is on the disk (off for imports, which can be repeated).
        Raises InputError for a directory that holds other things, CallFailure if it cannot be written.
        """
        path = _nameable(directory)
        with storing(path):
            path.mkdir(parents=True, exist_ok=True)
            with dataset_lock(path):
                if not (path / layout.DATASET_FILE).exists():
                    others = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
                    if others - {layout.CALLS, layout.INDEX_CSV, layout.INDEX_PARQUET, layout.REPORT}:
                        happened = f"the directory holds other things ({', '.join(sorted(others)[:3])})"
                        raise InputError("making a data set in", path, happened, "give a new or empty directory")
                    now = utc_text(time.time_ns(), 0)
                    about = {"schema_version": SCHEMA_VERSION, "created_at": now, "earwitness": __version__}
                    write_atomically(path / layout.DATASET_FILE, json.dumps(about).encode() + b"\n")
            dataset = cls.open(path)
            dataset.durable = durable
            remove_stale(path)
        return dataset

    @contextmanager
    def new_call(self, call_id: str) -> Iterator[Path]:
        """A folder to write a call into. If the block succeeds, the call is added to the data set atomically.

        The block must write record.json (`earwitness.archive.record.write_record`). If it raises, or the record is
        invalid, nothing is stored. A full or unwritable disk is a `CallFailure(STORAGE_FAILED)`.
        """
        target = self.path / layout.CALLS / layout.check_call_id(call_id, self.path)
        self.check_there()
        if target.exists():
            raise InputError("storing the call", target, "there is one of that name", "give the call another name")
        with storing(target), staged(self.path, call_id) as folder:
            yield folder
            self.check_there()
            record = read_record(folder)
            if record.call_id != call_id:
                raise InputError(
                    "storing the call", target, f"its record is of {record.call_id!r}", "report this fault"
                )
            commit(folder, target, self.durable)
        self._added += 1
        if self._added > self._indexed // (50 if self.durable else 1):
            self._refresh_quietly()

    def add_failed(self, record: CallRecord, evidence: Iterable[Path] = ()) -> StoredCall:
        """Store a failed call: its record, and copies of those of its files that exist."""
        with self.new_call(record.call_id) as folder:
            for path in evidence:
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)
            write_record(folder, record)
        return self.call(record.call_id)

    def check_there(self) -> None:
        """Raise `FolderGone` unless the path still leads to the folder that was opened."""
        if folder_identity(self.path) != self._folder or not (self.path / layout.DATASET_FILE).is_file():
            self._added = 0  # there is no index to bring up to date
            raise gone(self.path)

    def reindex(self) -> list[Problem]:
        """Rebuild the index from all records; returns the folders that could not be read."""
        return self._write_index(use_index=False)

    def refresh(self) -> list[Problem]:
        """Update the index with the calls in the data set; returns the folders that could not be read."""
        return self._write_index(use_index=True)

    def rows(self) -> pd.DataFrame:
        """One row per call and direction, in order of start; typed columns, a missing value is pandas.NA.

        Complete even if the index on disk is out of date. `frame.attrs["problems"]` lists the folders left out and why.
        """
        table, problems = survey(self.path)
        frame = to_frame(table)
        frame.attrs["problems"] = problems
        return frame

    def problems(self) -> list[Problem]:
        """The call folders that cannot be read, and why. Reads every record."""
        return survey(self.path, use_index=False)[1]

    def calls(self) -> Iterator[StoredCall]:
        """The calls in order of start, without folders that cannot be read (`problems` lists them)."""
        ids = survey(self.path)[0].column("call_id").to_pylist()
        for call_id in dict.fromkeys(ids):
            yield StoredCall(self.path / layout.CALLS / call_id)

    def readable(self, problems: list[Problem]) -> Iterator[StoredCall]:
        """The calls whose records can be read, in order of start; the others are added to `problems`.

        Process each within `earwitness.archive.problems.apart`, so that one bad call does not stop the work.
        """
        table, found = survey(self.path)
        problems.extend(found)
        for call_id in dict.fromkeys(table.column("call_id").to_pylist()):
            call = StoredCall(self.path / layout.CALLS / call_id)
            with apart(call_id, problems):  # damaged since it was indexed
                _ = call.record
            if "record" in call.__dict__:
                yield call

    def call(self, call_id: str) -> StoredCall:
        """One call by name; raises InputError if there is none."""
        folder = self.path / layout.CALLS / layout.check_call_id(call_id, self.path)
        if not folder.is_dir():
            raise InputError("looking for the call", folder, "there is none", "see calls.csv for the names")
        return StoredCall(folder)

    def __len__(self) -> int:
        return sum(1 for _ in self.calls())

    def __iter__(self) -> Iterator[StoredCall]:
        return self.calls()

    def __getitem__(self, call_id: str) -> StoredCall:
        return self.call(call_id)

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """The data set as HTML for a notebook: the number of calls, and the first and last rows."""
        rows = self.rows()
        shown = [name for name in _SHOWN if name in rows]
        heading = f"{escape(str(self.path))}: {rows['call_id'].nunique()} calls"
        return f"<p>{heading}</p>{rows[shown].to_html(max_rows=_MOST_ROWS_SHOWN, na_rep='')}"

    def close(self) -> None:
        """Update the index; raises CallFailure if it cannot be written (no call is lost)."""
        if self._added:
            self.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._refresh_quietly()

    def _write_index(self, use_index: bool) -> list[Problem]:
        self.check_there()
        with storing(self.path / layout.INDEX_PARQUET), dataset_lock(self.path):
            table, problems = survey(self.path, use_index)
            write_index(self.path, table)
        self._added = 0
        self._indexed = table.num_rows // 2
        return problems

    def _refresh_quietly(self) -> None:
        """Update the index; if that fails the call is still stored, and `close` or the next call tries again."""
        try:
            self.refresh()
        except FolderGone:
            pass
        except EarwitnessError:
            self._added = max(self._added, 1)


def _nameable(directory: Path | str) -> Path:
    """Reject a name that is not UTF-8: records, reports and bundles contain the name, and they are UTF-8."""
    path = Path(directory)
    if not is_utf8(path):
        raise InputError("opening the data set", path_text(path), "its name is not UTF-8", "give it another name")
    return path


def _no_directory(path: Path) -> InputError:
    """A file given as a data set: often the capture of one call, for which there are other commands."""
    if is_capture(path):
        remedy = "use `earwitness timing`, `hear` (repeat its buffer option to compare) or `blame`, or import a study"
        return InputError("opening the data set", path, "it is a capture, not a data set", remedy)
    return InputError("opening the data set", path, "it is a file, not a data set", "give the directory of one")
