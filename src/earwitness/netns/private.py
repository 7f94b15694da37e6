"""A folder that only its owner can change, for communication between commands of one user outside a sandbox.

Its contents are trusted: which processes to enter, and which to end. In a temporary directory shared by all users,
anybody can create a folder of any name first. So the folder is checked before use, by its descriptor, and its files are
accessed only through that descriptor: nothing can be swapped in between. Links are not followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from earwitness.errors import EarwitnessError
from earwitness.files import OpenFolder, UnfitFile

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = "EARWITNESS_RUNTIME"


def runtime_dir() -> Path:
    """The directory of the record and log of this user's lab, and of the locks that commands share.

    EARWITNESS_RUNTIME if set; otherwise below /run, where nobody else can create anything: root's own folder, or the
    session's for other users (XDG_RUNTIME_DIR, or /run/user/UID); otherwise the system's temporary directory.
    """
    if named := os.environ.get(_NAME):
        return Path(named)
    user = os.geteuid()
    if user == 0 and os.access("/run", os.W_OK):
        return Path(f"/run/earwitness-{user}")
    # `sudo -E` passes on the directory of another user's session.
    for session in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if session and _is_ours(Path(session)):
            return Path(session) / "earwitness"
    return Path(tempfile.gettempdir()) / f"earwitness-{user}"


class PrivateFolder(OpenFolder):
    """A folder verified, by its descriptor, to be this user's alone. Use `private_folder`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(descriptor)
        self.path = path

    def read(self, name: str, most_bytes: int) -> bytes:
        """Read a file in it.

        Raises:
            FileNotFoundError: there is no such file.
            EarwitnessError: it is a link, not a file, another user's, or too large.
        """
        try:
            with self.open(name, most_bytes) as file:
                if problem := not_ours(os.fstat(file.fileno())):
                    raise UnfitFile(problem, name)
                content = file.read(most_bytes + 1)
                if len(content) > most_bytes:
                    raise UnfitFile(f"it is larger than {most_bytes} bytes", name)
                return content
        except FileNotFoundError:
            raise
        except OSError as error:
            raise EarwitnessError("reading", self.path / name, error.strerror, "remove it") from error


@contextlib.contextmanager
def private_folder(path: Path, *, create: bool = False) -> Iterator[PrivateFolder | None]:
    """The folder at `path`, if it is this user's alone; None if it does not exist and `create` is off (mode 0700).

    Raises:
        EarwitnessError: it is a link or not a folder, another user's, or writable by others; or it cannot be created.
    """
    mend = f"set {_NAME} to a directory that only you can write to"
    try:
        if create:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, _FOLDER)
    except FileNotFoundError:
        if create:
            raise EarwitnessError("making", path, "it disappeared", mend) from None
        yield None
        return
    except OSError as error:
        what = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise EarwitnessError("using", path, what, mend) from error
    try:
        if problem := not_ours(os.fstat(descriptor)):
            raise EarwitnessError("using", path, problem, mend)
        yield PrivateFolder(path, descriptor)
    finally:
        os.close(descriptor)


def _is_ours(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode) and not_ours(path.lstat()) is None
    except OSError:
        return False


def not_ours(about: os.stat_result) -> str | None:
    """Why a file or folder must not be trusted, in words; None if it is this user's alone."""
    if about.st_uid != os.geteuid():
        return f"it belongs to another user (id {about.st_uid})"
    if about.st_mode & _OTHERS_WRITE:
        return f"others may write to it (mode {stat.S_IMODE(about.st_mode):04o})"
    return None
