"""Staging folders: a call is written into one, owned by one process, and then moved to its place.

An owner holds an advisory lock (flock) while it lives; the kernel releases it however the process ends. A folder whose
lock can be acquired therefore belongs to a dead owner, even if process ids cannot be compared (pid namespaces). The
folder's name contains the owner's process id and start time for human readers.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from earwitness.archive.layout import DATASET_FILE, INDEX_CSV, INDEX_PARQUET, LOCK, STAGING
from earwitness.files import replacing


@contextmanager
def dataset_lock(root: Path, within: int | None = None) -> Iterator[None]:
    """Hold the data set's advisory lock; other processes and threads wait.

    `within`: descriptor of the folder that was opened as `root`, even if another folder has that name now.
    """
    name = root / LOCK if within is None else Path(LOCK)
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=within)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def staged(root: Path, call_id: str) -> Iterator[Path]:
    """A new folder of this process inside the data set; removed on leaving with everything still in it.

    It is removed from where it was created, even if the data set has been renamed or replaced by then.
    """
    with dataset_lock(root):
        folder = root / STAGING / f"{os.getpid()}-{_start_time()}-{secrets.token_hex(3)}-{call_id}"
        folder.mkdir(parents=True)
        owner = _owner_file(folder)
        descriptor = os.open(owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        try:
            # Hold the lock, so that no other clean-up meets it half removed; if that fails, the data set is gone.
            with suppress(OSError), dataset_lock(root, here):
                shutil.rmtree(f"{STAGING}/{folder.name}", ignore_errors=True, dir_fd=here)
                os.unlink(f"{STAGING}/{owner.name}", dir_fd=here)
        finally:
            os.close(here)
            os.close(descriptor)


def remove_stale(root: Path) -> None:
    """Remove staging folders of dead owners, and drafts of the data set's own files."""
    staging = root / STAGING
    with dataset_lock(root):
        for name in (DATASET_FILE, INDEX_PARQUET, INDEX_CSV):
            for draft in root.glob(f".{name}.*"):  # a live process writes a draft only while it holds the lock
                draft.unlink(missing_ok=True)
        if not staging.is_dir():
            return
        for folder in sorted(path for path in staging.iterdir() if path.is_dir()):
            if not _has_owner(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _owner_file(folder).unlink(missing_ok=True)
        for orphan in staging.glob("*.owner"):
            if not (staging / orphan.stem).exists() and not _is_locked(orphan):
                orphan.unlink(missing_ok=True)


def commit(folder: Path, target: Path, durable: bool) -> None:
    """Move a finished folder to its place atomically, after everything in it is on the disk."""
    if durable:
        for parent, _, files in os.walk(folder):
            for name in files:
                _sync(Path(parent, name))
            _sync(Path(parent))
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    if durable:
        _sync(target.parent)


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace a file atomically: readers see the old one or the new one.

    `durable`: wait until it is on the disk, which takes a second on a busy disk; unnecessary for derived files.
    """
    with replacing(path) as draft:
        draft.write_bytes(content)
        if durable:
            _sync(draft)


def make_way(folder: Path, *patterns: str) -> None:
    """Remove links, pipes and other special files of these names before files are written there.

    A data set may come from an untrusted source: a link would redirect the write to another file, and a pipe would
    block for ever.
    """
    for pattern in patterns:
        for path in folder.glob(pattern):
            kind = path.lstat().st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                path.unlink()


def _owner_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".owner")


def _has_owner(folder: Path) -> bool:
    return _owner_file(folder).exists() and _is_locked(_owner_file(folder))


def _is_locked(path: Path) -> bool:
    """Whether another open file holds the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _start_time() -> str:
    """This process's start in clock ticks since boot (proc(5), /proc/pid/stat field 22)."""
    return Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
