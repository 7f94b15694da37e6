"""The files of a call as one value, for machines that share no disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, bytes]
"""By name; of one folder, without folders in it."""


def pack(folder: Path) -> dict[str, bytes]:
    """All files of a folder; what is in folders of it (short-lived files of programs) is left out."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def unpack(files: Files, folder: Path) -> None:
    """Write them into a folder that is there."""
    for name, content in files.items():
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"{name!r} is not the name of a file of a call")
        (folder / name).write_bytes(content)
