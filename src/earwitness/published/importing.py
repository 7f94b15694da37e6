"""Import of the published study's folders (or any folder of captures and recordings) into a data set, and export.

An imported call is stored without its files: its record with the rows, and the trace of each direction with the payload
bytes in the capture, so that the ear can render it again. Captures and recordings stay where they are; the rows name
them relative to the imported folder. `copy_files` copies them into the data set as well.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty, Clock, SpeechFacts
from earwitness.archive.layout import CALLS, CAPTURES, REFERENCE, heard_file, trace_file
from earwitness.archive.problems import Problem, apart
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.storing import check_output, storing
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Listener, Progress, ignore
from earwitness.published.calls_csv import CODECS, ENDS, ROW_COLUMN, write_published_csv
from earwitness.published.layout import FoundCall, Scan, scan
from earwitness.published.measure import DIRECTION, MeasuredCall, MeasureOptions, measure_call
from earwitness.trace.table import write_trace
from earwitness.version import __version__

IN_FLIGHT = 8
"""Maximum number of calls measured but not yet stored; bounds the memory of any import."""


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import. `doubts` counts every doubt by kind, from this and earlier runs on the data set."""

    calls_found: int
    calls_imported: int
    calls_already_there: int
    rows: int
    rows_completed: int
    files_without_a_call: tuple[tuple[str, str], ...]
    doubts: dict[str, int]
    doubtful: tuple[dict[str, str], ...]
    """Each doubtful row: call, direction, outcome, doubts."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def import_folder(
    folder: Path,
    dataset: Path,
    *,
    as_published: bool = False,
    reference: Path | None = None,
    copy_files: bool = False,
    executor: Executor | None = None,
    on_event: Listener = ignore,
) -> ImportSummary:
    """Measure every call under `folder` and store it in `dataset` (created if it does not exist).

    `as_published`: PESQ reads files as the study's binary did, and jitter is the study's, to its decimals. `reference`:
    the speech that was played; by default the study's own, if it is found in the folder or its parents.
    `executor` runs the measurements (a process pool); without one they run here. An import can be interrupted in any
    way and repeated: calls already stored are kept and not measured again. Raises `InputError` if the folder has no
    calls or the reference cannot be read, `CallFailure` if the data set cannot be written.
    """
    found = scan(folder, reference)
    if reference is not None and not reference.is_file():
        raise InputError("importing with the reference", reference, "no such file", "give a sound file")
    options = MeasureOptions(folder, found.reference, as_published)
    with Dataset.open_or_create(dataset, durable=False) as store:
        there = {path.name for path in (store.path / CALLS).iterdir()} if (store.path / CALLS).is_dir() else set()
        _check_same_reading(store, there & {call.call_id for call in found.calls}, as_published)
        waiting = [call for call in found.calls if call.call_id not in there]
        done = len(found.calls) - len(waiting)
        for measured in _measure_all(waiting, options, executor):
            _store(store, measured, options, copy_files)
            done += 1
            on_event(Progress(done, len(found.calls), measured.call.call_id))
    return _summary(found, len(waiting), Dataset.open(dataset))


def _check_same_reading(store: Dataset, there: set[str], as_published: bool) -> None:
    """Refuse to continue an import in the other mode: within a data set, columns must have one meaning."""
    if not there:
        return
    row = store.call(min(there)).rows[0]
    if (row.reading == "as-published") != as_published:
        happened = f"its calls were imported {'as published' if row.reading else 'not as published'}"
        raise InputError(
            "continuing the import into", store.path, happened, "import in the same way, or into another data set"
        )


def _measure_all(
    calls: Sequence[FoundCall], options: MeasureOptions, executor: Executor | None
) -> Iterator[MeasuredCall]:
    """The measured calls in order of completion; at most `IN_FLIGHT` of them at a time."""
    if executor is None:
        yield from (measure_call(call, options) for call in calls)
        return
    # Longest first, so that no process has a long one left at the end.
    remaining = iter(sorted(calls, key=lambda call: -sum(bool(end.recording) for end in call.ends)))
    pending: set[Future[MeasuredCall]] = set()
    try:
        pending |= {executor.submit(measure_call, call, options) for call in islice(remaining, IN_FLIGHT)}
        while pending:
            ready, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= {executor.submit(measure_call, call, options) for call in islice(remaining, len(ready))}
            for future in ready:
                yield future.result()
    except BrokenExecutor as error:
        happened = "a worker process died (out of memory, or killed)"
        raise EarwitnessError(
            "importing",
            options.folder,
            happened,
            "run it again: stored calls are kept; one worker process needs the least memory",
        ) from error
    finally:
        for future in pending:
            future.cancel()


def _store(store: Dataset, measured: MeasuredCall, options: MeasureOptions, copy_files: bool) -> None:
    """Store one measured call in the data set, atomically."""
    with store.new_call(measured.call.call_id) as folder:
        for end in measured.ends:
            if end.trace is not None:
                write_trace(end.trace, folder / trace_file(end.row.direction))
            if copy_files:
                side = "caller" if end.row.direction == "to_caller" else "callee"
                for source, name in (
                    (end.row.source_capture, CAPTURES[side]),
                    (end.row.source_recording, heard_file(end.row.direction)),
                ):
                    if source:
                        shutil.copyfile(options.folder / source, folder / name)
        if copy_files and options.reference is not None:
            shutil.copyfile(options.reference, folder / REFERENCE)
        write_record(folder, _record(measured, options))


def _record(measured: MeasuredCall, options: MeasureOptions) -> CallRecord:
    first = measured.ends[0].row
    failed = next((end.row for end in measured.ends if end.row.outcome == str(measured.outcome)), first)
    return CallRecord(
        call_id=measured.call.call_id,
        started_at=measured.started_at,
        command=("earwitness", "import", *(("--as-published",) if options.as_published else ())),
        versions={"earwitness": __version__},
        clocks={
            name: Clock(kind="time stamps of the imported capture")
            for end in measured.ends
            if end.trace is not None
            for name in (end.trace.sent_clock, end.trace.arrived_clock)
            if name != "unknown"
        },
        network=first.network,
        plan={"location": measured.call.location, "batch": measured.call.batch, "status": measured.call.status},
        path=first.path,
        caller=CallParty(place=first.from_place),
        callee=CallParty(place=first.to_place),
        codec=first.codec or first.codec_claimed,
        phone=first.phone,
        speech=SpeechFacts(name=first.speech),
        outcome=measured.outcome,
        outcome_detail=failed.outcome_detail,
        rows=tuple(end.row for end in measured.ends),
        notes=tuple(f"{doubt} ({doubt.file})" for doubt in measured.doubts),
    )


def _summary(found: Scan, imported: int, store: Dataset) -> ImportSummary:
    rows = store.rows()
    doubts: Counter[str] = Counter()
    doubtful = []
    for row in rows[["call_id", "direction", "outcome", "doubts"]].fillna("").to_dict("records"):
        if row["doubts"]:
            doubts.update(doubt.split(":", 1)[0] for doubt in str(row["doubts"]).split("; "))
            doubtful.append({str(name): str(value) for name, value in row.items()})
    return ImportSummary(
        calls_found=len(found.calls),
        calls_imported=imported,
        calls_already_there=len(found.calls) - imported,
        rows=len(rows),
        rows_completed=int((rows["outcome"] == "completed").sum()),
        files_without_a_call=found.strays,
        doubts=dict(doubts.most_common()),
        doubtful=tuple(doubtful),
    )


def export_published(dataset: Path, out: Path, problems: list[Problem] | None = None) -> int:
    """Write the data set as a CSV with exactly the published columns, one row per call; returns the number of calls.

    Calls that cannot be read are skipped and added to `problems`.

    Codec and location are the study's own names for imported calls, Earwitness's (`codec`, `from-to`) for others. The
    cells of an end without files in the data set are empty; the caller's score of a call that could not be scored is 0,
    as in the study's table.
    """
    check_output(out)
    store = Dataset.open(dataset)
    left_out = [] if problems is None else problems
    rows = []
    for stored in store.readable(left_out):
        with apart(stored.call_id, left_out):
            line = _published_line(stored.record)
            if line is not None:
                rows.append(line)
    rows.sort(key=lambda line: (str(line["codec"]), str(line["location"]), int(line["iteration_no"])))
    with storing(out):
        write_published_csv(rows, out)
    return len(rows)


def _published_line(record: CallRecord) -> dict[str, Any] | None:
    """A call in the format of the study's table; None if it has no rows."""
    by_direction = {row.direction: row for row in record.rows}
    any_row = next(iter(by_direction.values()), None)
    if any_row is None:
        return None
    tor = bool(any_row.hops)
    location = record.plan.get("location")
    line: dict[str, Any] = {
        "iteration_no": any_row.iteration if any_row.iteration is not None else 0,
        "tor_status": "Tor" if tor else "Non-tor",
        "location": location if location and isinstance(location, str) else f"{any_row.from_place}-{any_row.to_place}",
        "codec": _published_codec(any_row.codec_claimed or any_row.codec),
    }
    for end in ENDS:
        row = by_direction.get(DIRECTION[end])
        for name, column in ROW_COLUMN.items():
            line[f"{end}_{name}"] = getattr(row, column) if row is not None else None
        unscored = row is not None and row.mos_lqo is None and (end == "caller" or bool(row.source_recording))
        if unscored:
            line[f"{end}_pesq_raw"] = line[f"{end}_pesq_mos"] = 0.0
    return line


def _published_codec(codec: str) -> str:
    name = codec.split(":", 1)[0]
    return next((theirs for theirs, ours in CODECS.items() if ours == name), name)
