"""Safe access to files that others may have made or named: never a device or a pipe, never more bytes than requested.

An untrusted path can be a FIFO on which `open` blocks for ever, an endless device, a sparse file of a terabyte, or a
link to a secret. Files opened here are checked through their descriptor (fstat), so nothing can be swapped between the
check and the reading. All faults are `OSError`; its `strerror` is the clause "what happened" of an `EarwitnessError`.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

MIB = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LONGEST_NAME = 50
"""Characters of a file's name that its draft's name keeps: a name has at most 255 bytes, a character up to four."""
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


class UnfitFile(OSError):
    """The file exists but must not be read: another kind, too large, or another user's."""

    def __init__(self, what: str, path: object) -> None:
        super().__init__(errno.EINVAL, what, str(path))


class FileTooLarge(UnfitFile):
    """The file is larger than permitted."""


class NotAFile(UnfitFile):
    """The file is a directory, device, pipe or socket. `kind` is its `stat.S_IFMT`."""

    def __init__(self, kind: int, path: object) -> None:
        super().__init__(f"it is {_KINDS.get(kind, 'something else')}, not a file", path)
        self.kind = kind


class UnfitTarget(UnfitFile):
    """The target of a write exists and is not a regular file."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically: the block writes the draft it is given, which is then renamed to `path`.

    If the block raises, the existing file is kept and the draft removed. Every file that a user names is written this
    way. A symbolic link is replaced itself, never its target, which may belong to somebody else.

    Raises:
        UnfitTarget: the target exists and is not a regular file (`check_replaceable`).
        OSError: it cannot be written.
    """
    check_replaceable(path)
    draft = path.with_name(f".{path.name[:_LONGEST_NAME]}.{os.getpid()}-{secrets.token_hex(3)}")
    try:
        yield draft
        check_replaceable(path)
        draft.replace(path)
    finally:
        with suppress(OSError):  # the folder may be gone; the block's own error matters more
            draft.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Raise `UnfitTarget` if `path` exists and is not a regular file.

    That is a device, pipe, socket or directory, a link to one, or anything in /dev (/dev/stdout may lead to a file).
    """
    folder = os.path.realpath(path.parent)
    if f"{folder}/".startswith("/dev/") and not f"{folder}/".startswith("/dev/shm/"):
        raise UnfitTarget("it is in /dev", path)
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:  # it does not exist, or writing it will report the error
        return
    if kind != stat.S_IFREG:
        raise UnfitTarget(f"it is {_KINDS.get(kind, 'something else')}, not a file", path)


def open_regular(
    path: str | Path, *, most_bytes: int | None = None, follow: bool = True, within: int | None = None
) -> BinaryIO:
    """Open a regular file for reading, without blocking.

    `follow`: whether the last component of the path may be a symbolic link. `within`: descriptor of the folder that a
    relative path begins at; None: the working directory.

    Raises:
        UnfitFile: a directory, device, pipe or socket; a link if not allowed; larger than `most_bytes`.
        OSError: it does not exist, or cannot be read.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer; without O_NOCTTY a terminal becomes the controlling one.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, dir_fd=within)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise UnfitFile("it is a symbolic link", path) from None
        if error.errno == errno.ENXIO:
            raise NotAFile(stat.S_IFSOCK, path) from None
        raise
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise NotAFile(stat.S_IFMT(about.st_mode), path)
        if most_bytes is not None and about.st_size > most_bytes:
            raise FileTooLarge(f"it is too large ({_size(about.st_size)}, at most {_size(most_bytes)})", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """The bytes of a regular file; at most `most_bytes`, even if it grows while being read.

    Raises:
        UnfitFile: as `open_regular`.
        OSError: it does not exist, or cannot be read.
    """
    with open_regular(path, most_bytes=most_bytes, follow=follow) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise FileTooLarge(f"it is too large (more than {_size(most_bytes)})", path)
    return content


def read_text(path: str | Path, most_bytes: int = MIB) -> str:
    """The text of a user's regular file, UTF-8, with line endings converted to Unix's.

    Raises:
        UnfitFile: as `open_regular`.
        OSError: it does not exist, or cannot be read.
        UnicodeDecodeError: it is not UTF-8 (a `ValueError`).
    """
    return read_regular(path, most_bytes).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


class OpenFolder:
    """An open directory whose files are reached through its descriptor, never through a symbolic link.

    A path with a link in its middle can lead anywhere, and a name that was checked may be another file by the time it
    is opened. So each folder is opened relative to its parent (openat(2), O_NOFOLLOW), and files are checked through
    their descriptors.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Iterator[OpenFolder]:
        """Open the directory at a path given by the user, which may contain links. Raises OSError."""
        yield from cls._held(os.open(path, _FOLDER))

    @contextmanager
    def folder(self, name: str) -> Iterator[OpenFolder]:
        """Open a folder in it. Raises UnfitFile if it is a link, OSError if it is missing or not a folder."""
        try:
            descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.descriptor)
        except NotADirectoryError:
            what = "it is a symbolic link" if self.is_link(name) else "it is not a folder"
            raise UnfitFile(what, name) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnfitFile("it is a symbolic link", name) from None
            raise
        yield from self._held(descriptor)

    def names(self) -> list[str]:
        """The names in it, sorted."""
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def is_folder(self, name: str) -> bool:
        """Whether it contains a folder of that name that is not a link."""
        return stat.S_ISDIR(self._mode(name))

    def is_link(self, name: str) -> bool:
        """Whether it contains a symbolic link of that name."""
        return stat.S_ISLNK(self._mode(name))

    def open(self, name: str, most_bytes: int) -> BinaryIO:
        """Open a regular file in it for reading.

        Raises:
            UnfitFile: another kind, a link, larger than `most_bytes`; or a hard link to another user's file, which
                the folder's owner may have created without being able to read it.
            OSError: it is missing or cannot be read.
        """
        file = open_regular(name, most_bytes=most_bytes, follow=False, within=self.descriptor)
        about = os.fstat(file.fileno())
        if about.st_nlink > 1 and about.st_uid != os.fstat(self.descriptor).st_uid:
            file.close()
            raise UnfitFile("it is a link to another user's file", name)
        return file

    def create(self, name: str) -> BinaryIO:
        """Create a file in it (mode 0600) and open it for writing; replaces any file of that name. Raises `OSError`."""
        self.remove(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.fdopen(os.open(name, flags, 0o600, dir_fd=self.descriptor), "wb")

    def replace(self, name: str, content: bytes) -> None:
        """Write a file in it atomically. Raises `OSError`."""
        draft = f".{name}.{secrets.token_hex(4)}"
        try:
            with self.create(draft) as file:
                file.write(content)
            os.replace(draft, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        finally:
            self.remove(draft)

    def remove(self, *names: str) -> None:
        """Remove files in it; missing ones are ignored."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.descriptor)

    def _mode(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode
        except OSError:
            return 0

    @classmethod
    def _held(cls, descriptor: int) -> Iterator[OpenFolder]:
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)


def copy_out(file: BinaryIO, target: Path) -> None:
    """Copy an open file up to its present size; data appended during the copy is left out."""
    left = os.fstat(file.fileno()).st_size
    with target.open("xb") as copy:
        try:
            while left and (copied := os.copy_file_range(file.fileno(), copy.fileno(), left)):
                left -= copied
        except OSError as error:
            # The kernel cannot copy between some file systems.
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            copy.seek(0, os.SEEK_END)
            file.seek(copy.tell())
            while left and (part := file.read(min(left, 1 << 20))):
                copy.write(part)
                left -= len(part)


def is_utf8(path: str | Path) -> bool:
    """Whether a path is valid text. Linux allows any bytes, which Python maps to lone surrogates (PEP 383)."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def path_text(path: str | Path) -> str:
    """A path as text that can be written anywhere, with bytes that are not UTF-8 as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _size(number: int) -> str:
    return f"{number / MIB:.0f} MiB" if number >= MIB else f"{number} bytes"
