"""The files of a directory that somebody else may have filled, reached from its descriptor and never by a link.

A path with a link in its middle leads anywhere, and a name that was looked at may be another file when it is opened.
So each folder is opened in the one above it (openat(2), O_NOFOLLOW), and files are judged by their descriptors.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from earwitness.files import UnfitFile, open_regular

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Inside:
    """A directory held open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Iterator[Inside]:
        """The directory at a path that the user gave, which may lead over links. Raises OSError."""
        yield from cls._held(os.open(path, _FOLDER))

    @contextmanager
    def folder(self, name: str) -> Iterator[Inside]:
        """A folder in it. Raises UnfitFile where it is a link, OSError where it is none or not there."""
        try:
            descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._descriptor)
        except NotADirectoryError:
            what = "it is a symbolic link" if self.is_link(name) else "it is not a folder"
            raise UnfitFile(what, name) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnfitFile("it is a symbolic link", name) from None
            raise
        yield from self._held(descriptor)

    def names(self) -> list[str]:
        """What is in it, in order."""
        with os.scandir(self._descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def is_folder(self, name: str) -> bool:
        """Whether there is a folder of that name, which is no link."""
        return stat.S_ISDIR(self._mode(name))

    def is_link(self, name: str) -> bool:
        """Whether there is a symbolic link of that name."""
        return stat.S_ISLNK(self._mode(name))

    def open(self, name: str, most_bytes: int) -> BinaryIO:
        """A regular file in it, for reading.

        Raises:
            UnfitFile: another kind, a link, more than `most_bytes`; or a hard link to another user's file, which who
                made the folder may have set without being able to read it.
            OSError: it is not there, or may not be read.
        """
        file = open_regular(f"/proc/self/fd/{self._descriptor}/{name}", most_bytes=most_bytes, follow=False)
        about = os.fstat(file.fileno())
        if about.st_nlink > 1 and about.st_uid != os.fstat(self._descriptor).st_uid:
            file.close()
            raise UnfitFile("it is a link to another user's file", name)
        return file

    def _mode(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode
        except OSError:
            return 0

    @classmethod
    def _held(cls, descriptor: int) -> Iterator[Inside]:
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)


def copy_out(file: BinaryIO, target: Path) -> None:
    """Copy as much of an open file as it had when it was opened; what is added to it meanwhile is not in the copy."""
    left = os.fstat(file.fileno()).st_size
    with target.open("xb") as copy:
        try:
            while left and (copied := os.copy_file_range(file.fileno(), copy.fileno(), left)):
                left -= copied
        except OSError as error:
            # Between some file systems the kernel does not copy.
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            copy.seek(0, os.SEEK_END)
            file.seek(copy.tell())
            while left and (part := file.read(min(left, 1 << 20))):
                copy.write(part)
                left -= len(part)
