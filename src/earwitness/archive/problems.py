"""One bad call never stops the others: an error leaves that call out, and is reported with its place in the program.

Every loop over calls processes each within `apart`. Records come from untrusted sources, so the errors that they can
cause are not known in advance. A bug must be recognisable as one, and must not stop the analysis of ten thousand good
calls.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from earwitness.errors import CallFailure, EarwitnessError, Outcome

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors after which nothing more can be written."""
_ROOT = Path(__file__).parents[1]
_LONGEST = 300


@dataclass(frozen=True)
class Problem:
    """A call folder that cannot be read or was read in part, and why."""

    call_id: str
    what: str
    skipped: bool = True
    """Whether the call is therefore missing from the rows."""

    def to_dict(self) -> dict[str, str]:
        """The problem as a record of a command's `--json` output."""
        return {"left_out" if self.skipped else "doubtful": self.call_id, "why": self.what}


@contextmanager
def apart(call_id: str, problems: list[Problem], *, without: str = "") -> Iterator[None]:
    """Turn an exception in the block into a problem of this one call.

    `without`: the part of the call that is then missing (`packets`), if the call itself stays. Errors that concern all
    calls propagate: a full disk (`ends_everything`), and everything that is not an `Exception`, such as an interrupt.
    """
    try:
        yield
    except Exception as error:
        if ends_everything(error):
            raise
        what = f"without {without}: {reason(error)}" if without else reason(error)
        problems.append(Problem(encodable(call_id), what, skipped=not without))


def ends_everything(error: BaseException) -> bool:
    """Whether an error concerns the whole run and not one call: nothing more can be written."""
    if isinstance(error, CallFailure):
        return error.outcome is Outcome.STORAGE_FAILED
    return isinstance(error, OSError) and error.errno in FULL


def reason(error: BaseException) -> str:
    """What happened, in one line; for an unexpected error also its type and its place in the program."""
    if isinstance(error, EarwitnessError):
        return _line(error.happened)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_ROOT)]
    place = ""
    if frames:
        last = (ours or frames)[-1]
        file = Path(last.filename)
        name = file.relative_to(_ROOT.parent).as_posix() if ours else file.name
        place = f" ({name}:{last.lineno})"
    return f"{_line(f'{type(error).__name__}: {error}'.removesuffix(': '))}{place}"


def encodable(name: str) -> str:
    """A name that every output can encode: bytes that are not UTF-8 are written as `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode()


def _line(text: str) -> str:
    text = " ".join(encodable(text[: 2 * _LONGEST]).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
