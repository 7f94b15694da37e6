"""How files of a data set are read for a bundle: no more than so much, and never through a link."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from earwitness.archive.layout import CALLS
from earwitness.errors import InputError
from earwitness.files import MIB, OpenFolder
from earwitness.study.lock import STUDY

LARGEST_FILE = 4096 * MIB
"""Of any file of a call: a day of capture, or of sound."""
LARGEST_TEXT = 64 * MIB
"""Of a record or a study's file."""
DAMAGE = (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, pa.ArrowException, MemoryError)
"""What a file raises that cannot be read as what it is."""


def refuse_links(top: OpenFolder, directory: Path) -> None:
    """Raise InputError where the folder of calls or of the study is a link."""
    for name in (CALLS, STUDY):
        if top.is_link(name):
            raise linked(directory / name)


def linked(path: Path) -> InputError:
    """The error of a part of a data set that is a link, or no file."""
    remedy = "replace the link by its target: a link may point anywhere"
    return InputError("bundling", path, "it is a link, or not a file", remedy)


def short_reason(error: BaseException) -> str:
    """What happened, in one line of 200 characters at most."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:200] or type(error).__name__
