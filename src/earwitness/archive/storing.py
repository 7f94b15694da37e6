"""Writing to a place that the user chose: an error of the disk becomes one line that says what to do."""

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
"""Remedies by errno; None: the folder was removed."""


class FolderGone(CallFailure):
    """The data set's folder was removed or replaced: nothing can be added to it."""


@contextmanager
def storing(target: Path) -> Iterator[None]:
    """Turn errors in writing `target`, or files under it, into one line.

    Raises:
        CallFailure: `STORAGE_FAILED`: the disk is full, read-only or forbidden, or the folder was removed meanwhile.
        InputError: something other than a file has the file's name (`earwitness.files.replacing`).
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
    """Before the work, raise `InputError` if one of its output names belongs to something other than a file."""
    for file in files:
        with storing(file):
            check_replaceable(file)


def _storage_trouble(error: BaseException, target: Path) -> int | None:
    """The errno of the disk's refusal, if that is the cause of `error`; otherwise None."""
    base = _base(target)
    link: BaseException | None = error
    while link is not None:
        number = link.errno if isinstance(link, OSError) else None
        if number in FULL or (number in _REFUSED and _is_within(getattr(link, "filename", None), base)):
            return number
        link = link.__cause__ or link.__context__
    # Some writers hide errno (libsndfile, Arrow), so check whether the disk is full.
    space = os.statvfs(base)
    free = space.f_bfree if os.geteuid() == 0 else space.f_bavail
    return errno.ENOSPC if free == 0 else None


def _is_missing(error: Exception, folder: Path) -> bool:
    """Whether an error means that the output's folder is missing; pandas raises such errors without errno."""
    of_folder = isinstance(error, OSError) and (
        error.errno is None or (error.errno == errno.ENOENT and _is_within(error.filename, folder))
    )
    return of_folder and not folder.is_dir()


def gone(folder: Path) -> FolderGone:
    """The error for an output folder that no longer exists."""
    remedy = f"{_REMEDIES[None]} and run it again"
    return FolderGone(Outcome.STORAGE_FAILED, "storing", on=folder, happened=_REMOVED, remedy=remedy)


def _base(target: Path) -> Path:
    """The nearest folder above `target` that exists."""
    return next((parent for parent in target.absolute().parents if parent.is_dir()), Path("/"))


def _is_within(name: object, folder: Path) -> bool:
    return isinstance(name, str | Path) and Path(name).absolute().is_relative_to(folder.absolute())


def folder_identity(folder: Path) -> tuple[int, int] | None:
    """Identity of the folder, whatever its name; None if there is none."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
