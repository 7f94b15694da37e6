"""What is in a bundle."""

from __future__ import annotations

import tarfile


def in_archive(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    """The contents of a regular file of the archive."""
    file = tar.extractfile(member)
    assert file is not None, f"{member} is no regular file"
    return file.read()
