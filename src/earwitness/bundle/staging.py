"""Selects what goes into a bundle: the regular files of the data set layout, copied without following links."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from earwitness.archive.layout import (
    CALL_FILES,
    CALLS,
    CAPTURES,
    DATASET_FILE,
    LEDGERS,
    RECORD,
    SOUNDS,
    TRACES,
    TRUTH,
    TUNNELS,
    is_call_id,
)
from earwitness.archive.record import CallRecord
from earwitness.bundle.journal import copied_journal, write_journal
from earwitness.bundle.masked import (
    bare_wav,
    mask_ledger,
    mask_record,
    mask_trace,
    mask_truth,
    read_table,
    without_comments,
    without_payload,
)
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.bundle.reading import DAMAGE, LARGEST_FILE, LARGEST_TEXT, linked, refuse_links, short_reason
from earwitness.files import MIB, OpenFolder, UnfitFile, copy_out
from earwitness.study.lock import JOURNAL, STUDY, STUDY_FILE

CAPTURED = "captures"
SOUND = "sound"
STRANGE = "files that are not part of a data set"
DAMAGED = "files that cannot be read"
UNNAMED = "calls whose record cannot be read"

Table = Callable[[pa.Table], pa.Table]


@dataclass
class Staging:
    """The files of a bundle, being assembled in `target`."""

    directory: Path
    target: Path
    audio: bool
    masks: Pseudonyms | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    strangers: list[str] = field(default_factory=list)
    """Files left out unasked, each with the reason."""
    calls: int = 0

    def all(self) -> None:
        """Stage everything. Raises InputError if an essential part of the data set is a link."""
        with OpenFolder.of(self.directory) as top:
            refuse_links(top, self.directory)
            try:
                about = top.open(DATASET_FILE, LARGEST_TEXT)
            except UnfitFile:
                raise linked(self.directory / DATASET_FILE) from None
            with about:
                self._about(about)
            for name, stage in ((CALLS, self._calls), (STUDY, self._study)):
                if top.is_folder(name):
                    with top.folder(name) as inside:
                        stage(inside)

    def _about(self, file: BinaryIO) -> None:
        if (masks := self.masks) is None:
            copy_out(file, self.target / DATASET_FILE)
            return
        about = json.loads(file.read(LARGEST_TEXT))
        kept = {
            "schema_version": about["schema_version"],
            "created_at": masks.text(str(about.get("created_at", ""))),
            "earwitness": masks.version(str(about.get("earwitness", ""))),
        }
        (self.target / DATASET_FILE).write_text(json.dumps(kept) + "\n")

    # -- calls -------------------------------------------------------------------------------------------

    def _calls(self, calls: OpenFolder) -> None:
        for name in calls.names():
            if not is_call_id(name):
                self._strange(f"{CALLS}/{name}", "not a valid call id")
                continue
            try:
                with calls.folder(name) as folder:
                    self._call(folder, name)
            except UnfitFile as error:
                self._strange(f"{CALLS}/{name}", short_reason(error))

    def _call(self, folder: OpenFolder, call_id: str) -> None:
        record = None
        if self.masks is not None:
            record = self._read_record(folder, call_id)
            if record is None:
                return
        into = self.target / CALLS / (self.masks.call_id(call_id) if self.masks else call_id)
        into.mkdir(parents=True)
        self.calls += 1
        for name in folder.names():
            where = f"{CALLS}/{call_id}/{name}"
            if name not in CALL_FILES:
                self._strange(where, "not a file of the data set layout")
                continue
            if name in CAPTURES.values() and (self.masks or not self.audio):
                self.left_out[CAPTURED] += 1
                continue
            if name in SOUNDS and not self.audio:
                self.left_out[SOUND] += 1
                continue
            try:
                file = folder.open(name, LARGEST_FILE)
            except UnfitFile as error:
                self._strange(where, short_reason(error))
                continue
            except OSError as error:
                self._damaged(where, error)
                continue
            with file:
                self._file(file, into / name, record, where)

    def _read_record(self, folder: OpenFolder, call_id: str) -> CallRecord | None:
        """The record, to be written with pseudonyms; a call without a readable record is left out."""
        try:
            with folder.open(RECORD, LARGEST_TEXT) as file:
                record = CallRecord.from_json(file.read(LARGEST_TEXT))
            if record.call_id != call_id:
                raise ValueError(f"it is of {record.call_id!r}")
        except DAMAGE as error:
            self.left_out[UNNAMED] += 1
            self.strangers.append(f"{CALLS}/{call_id}: {short_reason(error)}")
            return None
        return record

    def _file(self, file: BinaryIO, target: Path, record: CallRecord | None, where: str) -> None:
        masks, name = self.masks, target.name
        change: Table | None = None
        if masks is not None:
            if name == RECORD:
                assert record is not None
                target.write_text(mask_record(record, masks).to_json(), encoding="utf-8")
                return
            if name in TUNNELS:
                target.write_text(masks.text(file.read(MIB).decode("utf-8", "replace")), encoding="utf-8")
                return
            if name in SOUNDS:
                self._try(partial(bare_wav, file, target), target, where)
                return
            if name in TRACES:
                change = partial(mask_trace, masks=masks)
            elif name in LEDGERS:
                change = partial(mask_ledger, masks=masks)
            elif name == TRUTH:
                change = partial(mask_truth, masks=masks)
        if name in TRACES and not self.audio:
            change = partial(_silent, change)
        if change is None:
            copy_out(file, target)
            return
        self._try(partial(_rewrite, file, target, change), target, where)

    def _try(self, write: Callable[[], None], target: Path, where: str) -> None:
        """Write a file that is parsed on the way; if it cannot be parsed, leave it out and report it."""
        try:
            write()
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the file
            target.unlink(missing_ok=True)
            self._damaged(where, error)

    def _damaged(self, where: str, error: BaseException) -> None:
        self.left_out[DAMAGED] += 1
        self.strangers.append(f"{where}: {short_reason(error)}")

    def _strange(self, where: str, why: str) -> None:
        self.left_out[STRANGE] += 1
        self.strangers.append(f"{where}: {why}")

    # -- the study ---------------------------------------------------------------------------------------

    def _study(self, study: OpenFolder) -> None:
        into = self.target / STUDY
        into.mkdir(parents=True)
        masks = self.masks
        try:
            with study.open(STUDY_FILE, LARGEST_TEXT) as file:
                text = file.read(LARGEST_TEXT).decode("utf-8", "replace")
            masked = masks.text(without_comments(text)) if masks else text
            (into / STUDY_FILE).write_text(masked, encoding="utf-8", newline="")
        except FileNotFoundError:
            pass
        except UnfitFile as error:
            self._strange(f"{STUDY}/{STUDY_FILE}", short_reason(error))
        try:
            with copied_journal(study, self.target) as journal:
                write_journal(journal, into / JOURNAL, masks)
        except UnfitFile as error:
            self._strange(f"{STUDY}/{JOURNAL}", short_reason(error))
        except sqlite3.DatabaseError as error:
            (into / JOURNAL).unlink(missing_ok=True)
            self._damaged(f"{STUDY}/{JOURNAL}", error)


def _silent(change: Table | None, table: pa.Table) -> pa.Table:
    return without_payload(change(table) if change else table)


def _rewrite(file: BinaryIO, target: Path, change: Table) -> None:
    pq.write_table(change(read_table(file)), target, compression="zstd")
