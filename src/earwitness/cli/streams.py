"""Makes standard streams accept any text: terminals without UTF-8, names that are not UTF-8, closed streams."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

ESCAPED = "earwitness-escaped"
"""Name of the error handler: characters that the encoding lacks are escaped as in JSON, S\\u00e3o Paulo."""


def settle() -> None:
    """Set up the streams; output of --json remains valid JSON."""
    codecs.register_error(ESCAPED, _escaped)
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if (
            stream is None
        ):  # closed by the parent process: the next opened file would get its number, and receive its output
            _open_on_nothing(descriptor)
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        if mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def _open_on_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)
    else:
        os.set_inheritable(nothing, True)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end
