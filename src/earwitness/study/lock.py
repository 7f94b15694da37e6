"""The lock (flock) that a run holds on its study for as long as it lives, and the names of files in `study/`."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from earwitness.errors import EarwitnessError
from earwitness.study.journal_file import now

STUDY = "study"
STUDY_FILE = "study.toml"
JOURNAL = "journal.sqlite"
LOCK = "lock"

_LOCK_TRIES = 10
_LOCK_STEP_S = 0.05
"""`status` takes the lock, shared, for a few microseconds."""


def running_since(directory: Path) -> Mapping[str, Any] | None:
    """The process that runs the study now, from the lock file; None if it is not running."""
    try:
        descriptor = os.open(directory / STUDY / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner_in(descriptor)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def study_lock(directory: Path) -> Iterator[None]:
    """Hold the study's lock while the block runs; raises EarwitnessError if another run holds it."""
    descriptor = os.open(directory / STUDY / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for tried in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if tried == _LOCK_TRIES - 1:
                    owner = _owner_in(descriptor)
                    raise EarwitnessError(
                        "running the study in",
                        directory,
                        f"another run is at work on it (on {owner.get('host', '?')} since {owner.get('since', '?')})",
                        "see `earwitness study status`; wait for it, or stop it with Ctrl-C there",
                    ) from None
                time.sleep(_LOCK_STEP_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(this_run()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def this_run() -> dict[str, Any]:
    """Identifies this run to users; a process id means little outside its sandbox."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}


def _owner_in(descriptor: int) -> dict[str, Any]:
    with suppress(ValueError):
        return dict(json.loads(os.pread(descriptor, 4096, 0)))
    return {}
