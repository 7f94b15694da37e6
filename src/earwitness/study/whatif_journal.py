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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from earwitness.archive.dataset import storing
from earwitness.errors import EarwitnessError, InputError

Record = dict[str, Any]
Progress = Callable[[int, int, str], None]
"""Told (done, in all, what was just done)."""

IN_FLIGHT = 64
"""Tasks handed to an executor and not yet answered, at most."""

_MAKERS = (
    "trace/*.py",
    "speech/**/*.py",
    "ear/*.py",
    "score/*.py",
    "study/hearing.py",
    "study/whatif*.py",
    "study/blame*.py",
)
_LIBRARIES = ("numpy", "scipy", "soxr", "pesq")

T = TypeVar("T")


@cache
def fingerprint() -> str:
    """Of the code that makes a result: our own pure floors and the libraries that they compute with."""
    digest = hashlib.sha256()
    root = Path(str(files("earwitness")))
    for path in sorted({path for pattern in _MAKERS for path in root.glob(pattern)}):
        digest.update(path.read_bytes())
    digest.update(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    return digest.hexdigest()[:16]


def key_of(*parts: object) -> str:
    """A key of what a result depends on: the parts, and the code."""
    return hashlib.sha256("\n".join([fingerprint(), *map(str, parts)]).encode()).hexdigest()[:32]


class Journal:
    """Results by key. Use `journal` to open one."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self.kept: dict[str, Record] = {}
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read()
        whole = content.rfind(b"\n") + 1
        # What a kill left of a last line goes, or the next one would be glued to it.
        os.ftruncate(descriptor, whole)
        for line in content[:whole].splitlines():
            try:
                entry = json.loads(line)
                self.kept[entry["key"]] = entry["record"]
            except (ValueError, KeyError, TypeError):
                continue  # damaged: made again

    def add(self, key: str, record: Record) -> None:
        """Keep one result; it is with the operating system when this returns, so that only a power cut loses it."""
        record = {name: _plain(value) for name, value in record.items()}
        line = json.dumps({"key": key, "record": record}, ensure_ascii=False).encode() + b"\n"
        with storing(self._path):
            while line:
                line = line[os.write(self._descriptor, line) :]
        self.kept[key] = record


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """Open the journal for this process alone; raises InputError where another one is at work on it."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("working in", path.parent, "another run is at work there", "wait for it") from None
        yield Journal(descriptor, path)
    finally:
        os.close(descriptor)


def run_kept(
    tasks: Sequence[tuple[str, T]],
    work: Callable[[T], Record],
    store: Journal,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    name: Callable[[T], str] = str,
) -> list[Record]:
    """The records of all (key, task), in their order: kept ones, and the others worked out and kept.

    `work` runs in `executor` (pickled by name), or here. The order of the results, and each of them, is the same
    however many workers there are. Raises what `work` raises; EarwitnessError where a worker process dies.
    """
    missing = [(key, task) for key, task in tasks if key not in store.kept]
    total, done = len(tasks), len(tasks) - len(missing)
    if progress is not None:
        progress(done, total, "")
    for key, task, record in _worked(missing, work, executor):
        store.add(key, record)
        done += 1
        if progress is not None:
            progress(done, total, name(task))
    return [store.kept[key] for key, _ in tasks]


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
            pending[executor.submit(work, task)] = key, task

    try:
        submit(IN_FLIGHT)
        while pending:
            ready, _ = wait(pending, return_when=FIRST_COMPLETED)
            submit(len(ready))
            for future in ready:
                key, task = pending.pop(future)
                yield key, task, future.result()
    except BrokenExecutor as error:
        happened = "a worker process died (out of memory, or killed)"
        raise EarwitnessError(
            "hearing calls again", "this machine", happened, "run it again, with fewer --workers: results are kept"
        ) from error
    finally:
        for future in pending:
            future.cancel()


def _plain(value: Any) -> Any:
    """As JSON can hold it; not-a-number is null, here and when the record was just made."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
