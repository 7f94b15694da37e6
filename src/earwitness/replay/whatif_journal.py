"""Keeps results as they are computed, so that a run can be continued after any interruption.

One file of JSON lines, appended to by one process; each line has the key of its task. The key includes a fingerprint of
the code, so results of older code are never reused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from earwitness.archive.problems import encodable, ends_everything, reason
from earwitness.archive.storing import gone, storing
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Listener, Progress, ignore
from earwitness.files import MIB
from earwitness.netns.workers import WorkerDied

Record = dict[str, Any]

IN_FLIGHT = 64
"""Maximum number of unfinished tasks given to an executor."""

_MAKERS = (
    "trace/*.py",
    "speech/**/*.py",
    "ear/*.py",
    "score/*.py",
    "replay/hearing.py",
)
_LIBRARIES = ("numpy", "scipy", "soxr", "pesq")

_LONGEST_LINE = MIB
_LARGEST = 1e15
_RAISED, _LASTING = "raised", "lasting"

T = TypeVar("T")


@cache
def code_fingerprint() -> str:
    """Hash of the code that produces a result: Earwitness's pure packages and the libraries they compute with."""
    digest = hashlib.sha256()
    root = Path(str(files("earwitness")))
    for path in sorted({path for pattern in _MAKERS for path in root.glob(pattern)}):
        digest.update(path.read_bytes())
    digest.update(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    return digest.hexdigest()[:16]


def key_of(*parts: object) -> str:
    """Hash of everything a result depends on: the parts, and the code."""
    return hashlib.sha256("\n".join([code_fingerprint(), *map(str, parts)]).encode()).hexdigest()[:32]


class ResultJournal:
    """Results by key. Use `journal` to open one."""

    def __init__(self, descriptor: int, path: Path, wanted: Collection[str] | None) -> None:
        self._descriptor = descriptor
        self._path = path
        self.kept: dict[str, Record] = {}
        """The results that were `wanted`; damaged ones are dropped and recomputed."""
        whole = 0
        with os.fdopen(os.dup(descriptor), "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if line.endswith(b"\n"):
                    whole = file.tell()
                    self._take(line, wanted)
        # Remove an incomplete last line left by a kill, or the next one would be appended to it.
        os.ftruncate(descriptor, whole)

    def _take(self, line: bytes, wanted: Collection[str] | None) -> None:
        try:
            entry = json.loads(line)
            key, record = entry["key"], entry["record"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if isinstance(key, str) and (wanted is None or key in wanted) and _sound(record):
            self.kept[key] = record

    def add(self, key: str, record: Record) -> Record:
        """Store one result. When this returns, the operating system has it, so only a power failure can lose it.

        Returns the result as stored.
        """
        record = _all_plain(record)
        line = json.dumps({"key": key, "record": record}, ensure_ascii=False).encode() + b"\n"
        with storing(self._path):
            if os.fstat(self._descriptor).st_nlink == 0:  # the file was deleted: further results would be lost
                raise gone(self._path.parent)
            while line:
                line = line[os.write(self._descriptor, line) :]
        self.kept[key] = record
        return record


@contextmanager
def result_journal(path: Path, wanted: Collection[str] | None = None) -> Iterator[ResultJournal]:
    """Open the journal for this process alone. `wanted`: the keys of interest; None: all.

    Raises InputError if another process is using it, or if it is not a regular file: the folder may be untrusted, and
    must not redirect writes elsewhere.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise InputError("working in", path.parent, f"{path.name}: {error.strerror}", "remove it") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError("working in", path.parent, f"{path.name} is not a regular file", "remove it")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("working in", path.parent, "another run is using it", "wait until it ends") from None
        yield ResultJournal(descriptor, path, wanted)
    finally:
        os.close(descriptor)


def run_resumable(
    tasks: Sequence[tuple[str, T]],
    work: Callable[[T], Record],
    store: ResultJournal,
    *,
    refused: Callable[[T, str], Record] | None = None,
    executor: Executor | None = None,
    on_event: Listener = ignore,
    name: Callable[[T], str] = str,
) -> list[Record]:
    """The records of all (key, task), in order: kept ones, and the others computed and kept.

    `work` runs in `executor` (pickled by name), or here. The results and their order do not depend on the number of
    workers. An exception from `work`, or the death of a worker process, becomes the record that `refused` makes from
    the task and the reason; if memory was short, it is not kept, so that the next run tries again. A kept record that
    disagrees with `refused` about the task's own fields belongs to another task and is recomputed.

    Raises what `work` raises if there is no `refused`, and errors that concern all tasks (a full disk); EarwitnessError
    if a worker's death ends the executor.
    """
    there = {key for key, task in tasks if key in store.kept and _is_of(store.kept[key], task, refused)}
    missing = [(key, task) for key, task in tasks if key not in there]
    total, done = len(tasks), len(tasks) - len(missing)
    records = {key: store.kept[key] for key in there}
    on_event(Progress(done, total))
    for key, task, record in _worked(missing, work if refused is None else _Guarded(work), executor):
        if refused is not None and _RAISED in record:
            lasting, record = record[_LASTING], refused(task, record[_RAISED])
        else:
            lasting = True
        records[key] = store.add(key, record) if lasting else _all_plain(record)
        done += 1
        on_event(Progress(done, total, name(task)))
    return [records[key] for key, _ in tasks]


@dataclass(frozen=True)
class _Guarded:
    """`work`, with exceptions returned as records; pickled to the worker."""

    work: Callable[[Any], Record]

    def __call__(self, task: Any) -> Record:
        try:
            return self.work(task)
        except Exception as error:
            if ends_everything(error):
                raise
            return {_RAISED: reason(error), _LASTING: not isinstance(error, MemoryError)}


def _is_of(record: Record, task: T, refused: Callable[[T, str], Record] | None) -> bool:
    """Whether a kept record belongs to this task, judged by the task's own fields."""
    if refused is None:
        return True
    own = _all_plain(refused(task, ""))
    return all(record.get(name) == value for name, value in own.items() if name != "refused")


def _worked(
    tasks: Sequence[tuple[str, T]], work: Callable[[T], Record], executor: Executor | None
) -> Iterator[tuple[str, T, Record]]:
    """Results in order of completion."""
    if executor is None:
        yield from ((key, task, work(task)) for key, task in tasks)
        return
    remaining = iter(tasks)
    pending: dict[Future[Record], tuple[str, T]] = {}

    def submit(count: int) -> None:
        for key, task in islice(remaining, count):
            try:
                future = executor.submit(work, task)
            except OSError as error:  # reading a file that is sent with the task
                future = Future()
                future.set_exception(error)
            pending[future] = key, task

    try:
        submit(IN_FLIGHT)
        while pending:
            ready, _ = wait(pending, return_when=FIRST_COMPLETED)
            submit(len(ready))
            for future in ready:
                key, task = pending.pop(future)
                error = future.exception()
                if isinstance(work, _Guarded) and isinstance(error, WorkerDied | OSError):
                    yield key, task, {_RAISED: reason(error), _LASTING: False}
                else:
                    yield key, task, future.result()
    except BrokenExecutor as error:
        happened = "a worker process died (out of memory, or killed)"
        raise EarwitnessError(
            "hearing calls again",
            "this machine",
            happened,
            "run it again with fewer worker processes: results are kept",
        ) from error
    finally:
        for future in pending:
            future.cancel()


def _sound(record: Any) -> bool:
    """Whether a kept record contains only valid values: short texts, booleans, null, and numbers in range."""
    if not isinstance(record, dict):
        return False
    for name, value in record.items():
        if isinstance(value, str):
            if len(value) > _LONGEST_LINE or encodable(value) != value:
                return False
        elif not (value is None or (isinstance(value, int | float) and -_LARGEST < value < _LARGEST)):
            return False
        if encodable(name) != name:
            return False
    return True


def _all_plain(record: Record) -> Record:
    return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; NaN becomes null, both for stored and for new records."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return encodable(value) if isinstance(value, str) and not value.isascii() else value
