"""What every command shares: JSON or a table on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

progress = Console(stderr=True, highlight=False)
"""Where progress, notes and errors go."""

output = Console(highlight=False, width=None if sys.stdout is not None and sys.stdout.isatty() else 130)
"""Where results go. Into a file or a pipe tables are as wide as they read best."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print records as JSON lines on standard output.")]


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A bar where progress goes, gone when its block ends; on what is no terminal nothing, not even an empty line."""
    from rich.progress import Progress

    return Progress(*columns, console=progress, transient=True, disable=not progress.is_terminal)


def print_records(records: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line; non-finite numbers become null."""
    for record in records:
        sys.stdout.write(json.dumps(_plain(record), ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def told(command: str, json: bool) -> Callable[[str], None]:
    """How a command that serves says what happens: a line on standard error, with `json` a record besides."""

    def tell(line: str) -> None:
        if json:
            print_records([{"said": line}])
        progress.print(f"{command}: {line}", markup=False, soft_wrap=True)

    return tell


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: numpy scalars to Python's, NaN and infinities to None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
