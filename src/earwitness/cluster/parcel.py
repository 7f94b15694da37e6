"""The files of a call as one value, for machines that share no disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from earwitness.archive.layout import CALL_FILES
from earwitness.files import MIB, read_regular

_LARGEST = 1024 * MIB
"""Of one file: what goes over the network is in memory whole."""

Files = Mapping[str, bytes]
"""By name; of one folder, without folders in it."""


def pack(folder: Path) -> dict[str, bytes]:
    """The files of a call in a folder, regular ones; short-lived files of programs, and links, are left out."""
    names = sorted(path.name for path in folder.iterdir() if path.name in CALL_FILES and not path.is_symlink())
    return {name: read_regular(folder / name, _LARGEST, follow=False) for name in names}


def unpack(files: Files, folder: Path) -> None:
    """Write them into a folder that is there."""
    for name, content in files.items():
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"{name!r} is not the name of a file of a call")
        (folder / name).write_bytes(content)
