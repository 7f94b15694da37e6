"""A study's directory: the data set, and in `study/` the study file, the journal and the lock.

DIR/calls/...            the data set
DIR/study/study.toml     the study as last run
DIR/study/journal.sqlite
DIR/study/lock           locked (flock) by the active run
DIR/study/damaged/       call folders and journals that could not be read
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.layout import CALLS
from earwitness.archive.record import CallRecord, read_record
from earwitness.archive.staging import write_atomically
from earwitness.archive.storing import storing
from earwitness.errors import InputError
from earwitness.study.design import PlannedCall, design, of_call_id
from earwitness.study.file import StudyFile, parse_study
from earwitness.study.journal import Journal
from earwitness.study.journal_file import DamagedJournal, now, remove_database
from earwitness.study.lock import JOURNAL, STUDY, STUDY_FILE, study_lock, this_run
from earwitness.study.model import Retry, Study
from earwitness.study.retry import Ended

DAMAGED = "damaged"

Adapt = Callable[[Study], Study]


@dataclass(frozen=True)
class StudyFolder:
    """A study that this process owns: no other process can run it while this is open."""

    path: Path
    study: Study
    calls: tuple[PlannedCall, ...]
    dataset: Dataset
    journal: Journal
    notes: tuple[str, ...]
    """Repairs made on opening, one line each."""


@contextmanager
def owned_study(directory: Path, file: StudyFile) -> Iterator[StudyFolder]:
    """Open a study's directory to run it; created if absent. The journal is reconciled with the stored calls.

    Raises:
        InputError: the directory holds another study, or one of a different design.
        EarwitnessError: another run is active in it, or it cannot be written.
    """
    study, adapt = file.study, file.adapt
    calls = design(study)
    dataset = Dataset.open_or_create(directory)
    inner = directory / STUDY
    with storing(inner):
        inner.mkdir(exist_ok=True)
    with study_lock(directory):
        notes: list[str] = []
        journal = _open_journal(inner, study, calls, notes, adapt)
        try:
            with storing(inner):
                write_atomically(inner / STUDY_FILE, file.text.encode())
            journal.begin_run(json.dumps(this_run()))
            notes += reconcile(journal, directory, calls, study.retry)
            yield StudyFolder(directory, study, calls, dataset, journal, tuple(notes))
        finally:
            journal.close()


def reconcile(journal: Journal, directory: Path, calls: Sequence[PlannedCall], retry: Retry) -> list[str]:
    """Make the journal agree with the data set, which takes precedence; returns the repairs, one line each.

    A stored call counts even if the journal lacks its end; an attempt without a stored call does not count, and the
    next attempt takes its name. Call folders that cannot be read are moved out of the data set.
    """
    by_position = {call.position: call for call in calls}
    study = calls[0].plan.study.study if calls and calls[0].plan.study else ""
    root = directory / CALLS
    stored = {entry.name for entry in os.scandir(root) if entry.is_dir()} if root.is_dir() else set()
    notes = []
    ended = {call_id: position for position, _, call_id, _ in journal.attempts(["ended"])}
    adopted = damaged = 0
    for call_id in sorted(stored - ended.keys()):
        found = of_call_id(study, call_id)
        if found is None or found[0] not in by_position:
            continue
        position, attempt = found
        try:
            record = read_record(root / call_id)
        except InputError:
            _move_away(root / call_id, directory)
            damaged += 1
            continue
        journal.adopt(position, attempt, call_id, ended_of(record), record.outcome_detail, retry)
        adopted += 1
    lost = [(position, call_id) for position, _, call_id, _ in journal.attempts(["running"])]
    lost += [(position, call_id) for call_id, position in ended.items() if call_id not in stored]
    for position, call_id in lost:
        journal.lose(position, call_id, "the run ended before it was stored", retry)
    for count, what in (
        (adopted, "already in the data set, now in the journal too"),
        (len(lost), "not in the data set: to be placed again"),
        (damaged, f"could not be read: moved to {directory / STUDY / DAMAGED}, to be placed again"),
    ):
        if count:
            notes.append(f"{count} call{'s' * (count != 1)} {what}")
    return notes


def ended_of(record: CallRecord) -> Ended:
    """How an attempt ended, from its record."""
    flags = [row.instrument_ok for row in record.rows if row.instrument_ok is not None]
    return Ended(record.outcome, all(flags) if flags else None)


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The settings that differ, as `design.repeats: 2 -> 4`."""
    old, new = _flat(before), _flat(after)
    return [
        f"{key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _open_journal(inner: Path, study: Study, calls: Sequence[PlannedCall], notes: list[str], adapt: Adapt) -> Journal:
    path = inner / JOURNAL
    frozen = json.loads(json.dumps(study.frozen()))
    if not path.exists():
        _check_stored_study(inner, study, adapt)
        return Journal.create(path, frozen, calls)
    try:
        journal = Journal.open(path)
        before = journal.frozen()
    except DamagedJournal as damage:
        _check_stored_study(inner, study, adapt)
        aside = inner / DAMAGED / f"{JOURNAL}-{now().replace(':', '')}"
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
        remove_database(path)
        notes.append(f"the journal was damaged ({damage.happened}) and was made again from the data set")
        return Journal.create(path, frozen, calls)
    if before == frozen:
        return journal
    has_run = bool(journal.rows("SELECT 1 FROM attempts WHERE state = 'ended' LIMIT 1"))
    journal.close()
    if has_run or before["name"] != frozen["name"]:
        raise _differs(inner, before, frozen)
    remove_database(path)
    notes.append("the design was changed before any call had run")
    return Journal.create(path, frozen, calls)


def _check_stored_study(inner: Path, study: Study, adapt: Adapt) -> None:
    """Refuse a changed design where there is no journal, by the study file of the last run."""
    if not (inner / STUDY_FILE).exists():
        return
    stored = adapt(parse_study((inner / STUDY_FILE).read_text(encoding="utf-8"), inner / STUDY_FILE))
    if stored.digest() != study.digest():
        raise _differs(inner, stored.frozen(), study.frozen())


def _differs(inner: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> InputError:
    if before["name"] != after["name"]:
        return InputError(
            "running the study",
            after["name"],
            f"{inner.parent} holds the study {before['name']!r}",
            "give another directory as {out}",
            related=("out",),
        )
    changes = changed_settings(before, after)
    more = f" and {len(changes) - 2} more" if len(changes) > 2 else ""
    return InputError(
        "running the study",
        after["name"],
        f"its design or stopping rule was changed after calls had run ({'; '.join(changes[:2])}{more})",
        "give the changed study another name and another {out}, or put the settings back",
        related=("out",),
    )


def _move_away(folder: Path, directory: Path) -> None:
    target = directory / STUDY / DAMAGED
    target.mkdir(exist_ok=True)
    folder.replace(target / f"{folder.name}-{now().replace(':', '')}")


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    if isinstance(values, Mapping):
        return {
            key: value
            for part, inner in values.items()
            for key, value in _flat(inner, f"{name}.{part}" if name else str(part)).items()
        }
    return {name: json.loads(json.dumps(values))}
