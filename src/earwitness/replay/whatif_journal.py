"""Results that are kept as they come, so that a run that was stopped, however hard, goes on where it was.

One file of JSON lines, appended to by one process; each line has the key of what it is the result of. The key holds a
fingerprint of the code that made it, so that nothing old is ever taken for new.
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
"""Tasks handed to an executor and not yet answered, at most."""

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
    """Of the code that makes a result: our own pure floors and the libraries that they compute with."""
    digest = hashlib.sha256()
    root = Path(str(files("earwitness")))
    for path in sorted({path for pattern in _MAKERS for path in root.glob(pattern)}):
        digest.update(path.read_bytes())
    digest.update(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    return digest.hexdigest()[:16]


def key_of(*parts: object) -> str:
    """A key of what a result depends on: the parts, and the code."""
    return hashlib.sha256("\n".join([code_fingerprint(), *map(str, parts)]).encode()).hexdigest()[:32]


class ResultJournal:
    """Results by key. Use `journal` to open one."""

    def __init__(self, descriptor: int, path: Path, wanted: Collection[str] | None) -> None:
        self._descriptor = descriptor
        self._path = path
        self.kept: dict[str, Record] = {}
        """Those that were `wanted`, damaged ones left out: they are made again."""
        whole = 0
        with os.fdopen(os.dup(descriptor), "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if line.endswith(b"\n"):
                    whole = file.tell()
                    self._take(line, wanted)
        # What a kill left of a last line goes, or the next one would be glued to it.
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
        """Keep one result; it is with the operating system when this returns, so that only a power cut loses it.

        Returns it as it is kept.
        """
        record = _all_plain(record)
        line = json.dumps({"key": key, "record": record}, ensure_ascii=False).encode() + b"\n"
        with storing(self._path):
            if os.fstat(self._descriptor).st_nlink == 0:  # the hours to come would be for nothing
                raise gone(self._path.parent)
            while line:
                line = line[os.write(self._descriptor, line) :]
        self.kept[key] = record
        return record


@contextmanager
def result_journal(path: Path, wanted: Collection[str] | None = None) -> Iterator[ResultJournal]:
    """Open the journal for this process alone. `wanted`: the keys that matter; None: all.

    Raises InputError where another process is at work on it, or where it is no file of its own: the folder may be
    anybody's, and what its names lead to is not ours to write to.
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
            raise InputError("working in", path.parent, "another run is at work there", "wait for it") from None
        yield ResultJournal(descriptor, path, wanted)
    finally:
        os.close(descriptor)


def run_kept(
    tasks: Sequence[tuple[str, T]],
    work: Callable[[T], Record],
    store: ResultJournal,
    *,
    refused: Callable[[T, str], Record] | None = None,
    executor: Executor | None = None,
    on_event: Listener = ignore,
    name: Callable[[T], str] = str,
) -> list[Record]:
    """The records of all (key, task), in their order: kept ones, and the others worked out and kept.

    `work` runs in `executor` (pickled by name), or here. The order of the results, and each of them, is the same
    however many workers there are. What `work` raises, and the death of a worker process, become the record that
    `refused` makes of a task and the reason; where memory was short it is not kept, so that the next run tries again.
    A kept record that differs from `refused`'s in what that says was not made of this task, and is made again.

    Raises what `work` raises where there is no `refused`, and what concerns all tasks (a full disk); EarwitnessError
    where an executor ends with a worker of it.
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
    """`work` that returns what it raises, as a record; pickled to the worker."""

    work: Callable[[Any], Record]

    def __call__(self, task: Any) -> Record:
        try:
            return self.work(task)
        except Exception as error:
            if ends_everything(error):
                raise
            return {_RAISED: reason(error), _LASTING: not isinstance(error, MemoryError)}


def _is_of(record: Record, task: T, refused: Callable[[T, str], Record] | None) -> bool:
    """Whether a kept record is of this task, by the task's own part of it."""
    if refused is None:
        return True
    own = _all_plain(refused(task, ""))
    return all(record.get(name) == value for name, value in own.items() if name != "refused")


def _worked(
    tasks: Sequence[tuple[str, T]], work: Callable[[T], Record], executor: Executor | None
) -> Iterator[tuple[str, T, Record]]:
    """Results as they become ready."""
    if executor is None:
        yield from ((key, task, work(task)) for key, task in tasks)
        return
    remaining = iter(tasks)
    pending: dict[Future[Record], tuple[str, T]] = {}

    def submit(count: int) -> None:
        for key, task in islice(remaining, count):
            try:
                future = executor.submit(work, task)
            except OSError as error:  # a file that would go along with the task
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
    """Whether a kept record holds what a result can: short texts, true or false, nothing, and numbers in range."""
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
    """As JSON can hold it; not-a-number is null, here and when the record was just made."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return encodable(value) if isinstance(value, str) and not value.isascii() else value
