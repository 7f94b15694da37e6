"""The files of a call as one value, for machines without a shared disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from earwitness.archive.layout import CALL_FILES
from earwitness.files import MIB, read_regular

_LARGEST = 1024 * MIB
"""Limit of one file, because files are sent from memory."""

Files = Mapping[str, bytes]
"""By name; of one folder without subfolders."""


def pack(folder: Path) -> dict[str, bytes]:
    """The regular files of a call in a folder; temporary files of programs, and links, are skipped."""
    names = sorted(path.name for path in folder.iterdir() if path.name in CALL_FILES and not path.is_symlink())
    return {name: read_regular(folder / name, _LARGEST, follow=False) for name in names}


def unpack(files: Files, folder: Path) -> None:
    """Write the files into an existing folder."""
    for name, content in files.items():
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"{name!r} is not a file name of a call")
        (folder / name).write_bytes(content)
