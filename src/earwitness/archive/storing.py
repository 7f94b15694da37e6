"""Writing where somebody asked for it: what the disk refuses is one line that says what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earwitness.archive.problems import FULL
from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.files import UnfitTarget, check_replaceable

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG)
_REMOVED = "the folder was removed or replaced meanwhile"
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "permit larger files (ulimit -f)",
    None: "leave it where it is",
}
"""By what the disk says; None: its folder was removed."""


class FolderGone(CallFailure):
    """The data set's folder is not there any more, or another has its name: nothing can be added to it."""


@contextmanager
def storing(target: Path) -> Iterator[None]:
    """Turn what keeps files from being written at `target` or under it into one line.

    Raises:
        CallFailure: `STORAGE_FAILED`: the disk is full, read-only or forbidden, or the folder was removed meanwhile.
        InputError: what has the name of a file is no file (`earwitness.files.replacing`).
    """
    base = _base(target)
    before = folder_identity(base)
    try:
        yield
    except EarwitnessError:
        raise
    except UnfitTarget as error:
        raise InputError("writing", error.filename, error.strerror, "give another name, or remove it") from error
    except Exception as error:
        if folder_identity(base) != before or _is_missing(error, target.parent):
            raise gone(target.parent) from error
        number = _storage_trouble(error, target)
        if number is None:
            raise
        remedy = _REMEDIES.get(number, "give a writable directory")
        raise CallFailure(
            Outcome.STORAGE_FAILED,
            "storing",
            on=target,
            happened=os.strerror(number),
            remedy=f"{remedy} and run it again",
        ) from error


def check_output(*files: Path) -> None:
    """Raise `InputError` where one of the files to write, once the work is done, has the name of what is no file."""
    for file in files:
        with storing(file):
            check_replaceable(file)


def _storage_trouble(error: BaseException, target: Path) -> int | None:
    """What the disk refused (errno), where that is what `error` comes from."""
    base = _base(target)
    link: BaseException | None = error
    while link is not None:
        number = link.errno if isinstance(link, OSError) else None
        if number in FULL or (number in _REFUSED and _is_within(getattr(link, "filename", None), base)):
            return number
        link = link.__cause__ or link.__context__
    # Writers that hide errno (libsndfile, Arrow) fail all the same when the disk is full.
    space = os.statvfs(base)
    free = space.f_bfree if os.geteuid() == 0 else space.f_bavail
    return errno.ENOSPC if free == 0 else None


def _is_missing(error: Exception, folder: Path) -> bool:
    """Whether an error is that the folder of what is written is not there; pandas says so without a number."""
    of_folder = isinstance(error, OSError) and (
        error.errno is None or (error.errno == errno.ENOENT and _is_within(error.filename, folder))
    )
    return of_folder and not folder.is_dir()


def gone(folder: Path) -> FolderGone:
    """What to raise where a folder that was written to is not there any more."""
    remedy = f"{_REMEDIES[None]} and run it again"
    return FolderGone(Outcome.STORAGE_FAILED, "storing", on=folder, happened=_REMOVED, remedy=remedy)


def _base(target: Path) -> Path:
    """The nearest folder above `target` that exists."""
    return next((parent for parent in target.absolute().parents if parent.is_dir()), Path("/"))


def _is_within(name: object, folder: Path) -> bool:
    return isinstance(name, str | Path) and Path(name).absolute().is_relative_to(folder.absolute())


def folder_identity(folder: Path) -> tuple[int, int] | None:
    """Which folder it is, whatever its name; None: there is none."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
