"""Tables as CSV that is safe to open in a spreadsheet: no text of a record becomes a formula there.

A text that would start a formula gets an apostrophe before it (OWASP, "CSV Injection": = + - @, tab, carriage return),
also after characters that some locales' spreadsheets use as separators (semicolon, tab, bar, line feed). Numbers, and
texts that are numbers, are unchanged; terminal control characters are escaped (`earwitness.printable`). The exact
values are in the records and in Parquet.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earwitness.files import replacing
from earwitness.printable import ACTING, visible

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"(^|[;\t|\n])(?=[=+\-@\t\n\uff1d\uff0b\uff0d\uff20])")
"""The last four are the full-width forms, which some spreadsheets also treat as formulas."""
_SPECIAL = re.compile(f"{_FORMULA.pattern}|{ACTING.pattern}")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def cell(value: Any) -> Any:
    """A value that is safe in CSV; only texts are changed."""
    if not isinstance(value, str) or not value or not _SPECIAL.search(value) or _NUMBER.fullmatch(value):
        return value
    return visible(_FORMULA.sub(r"\1'", value.replace("\r\n", "\n")))


def write_csv(frame: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Write the frame's columns, without its index, each value through `cell`; atomically (`replacing`)."""
    safe = frame.rename(columns=cell)
    for at in range(safe.shape[1]):
        column = safe.iloc[:, at]
        if not (column.dtype.kind in "biufmM" and column.dtype.name != "category"):
            safe.isetitem(at, column.astype(object).map(cell).array)
    with replacing(path) as draft:
        safe.to_csv(draft, index=False, float_format=float_format)
