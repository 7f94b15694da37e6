"""Shared by all commands: JSON or tables on standard output, progress and errors on standard error."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earwitness import events
from earwitness.archive.spreadsheet import cell
from earwitness.cli import panels
from earwitness.cli.terminal import DataConsole
from earwitness.events import Event, Listener, Notice, StageReached, WarningGiven
from earwitness.printable import visible, visible_json

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from earwitness.archive.problems import Problem

progress = DataConsole(stderr=True)
"""The console for progress, notes and errors."""

output = DataConsole(width=None if sys.stdout is not None and sys.stdout.isatty() else 130)
"""The console for results. In a file or a pipe, tables take their natural width."""

JsonFlag = Annotated[
    bool,
    typer.Option("--json", help="Print records as JSON lines on standard output.", rich_help_panel=panels.RESULT),
]


def needs(command: str, *extras: str) -> None:
    """Raise `MissingExtra` unless the extras that `earwitness COMMAND` needs are installed."""
    from earwitness.extras import need

    need(*extras, tried="running", on=f"earwitness {command}")


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A progress bar, removed when its block ends; prints nothing if standard error is not a terminal."""
    from rich.progress import Progress

    return Progress(*columns, console=progress, transient=True, disable=not progress.is_terminal)


def print_records(records: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line; non-finite numbers become null.

    Control characters are escaped, and so are non-ASCII characters if standard output cannot encode them.
    """
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    for record in records:
        text = json.dumps(_plain(record), ensure_ascii=ascii_only, allow_nan=False)
        sys.stdout.write(visible_json(text) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print a line of another program's format, tabs included, with control characters escaped."""
    sys.stdout.write(visible(text) + "\n")
    sys.stdout.flush()


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table as CSV that is safe to open in a spreadsheet (`earwitness.archive.spreadsheet`)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow([cell(value) for value in row])
    sys.stdout.write(text.getvalue())
    sys.stdout.flush()


def show_problems(command: str, problems: Iterable[Problem]) -> None:
    """Print the problems with a data set's calls on standard error, one line each."""
    for problem in problems:
        left_out = "; left out" if problem.skipped else ""
        progress.print(f"{command}: calls/{problem.call_id}: {problem.what}{left_out}", markup=False, soft_wrap=True)


def event_lines(command: str, json: bool) -> Listener:
    """A listener for servers: prints each event on standard error, and with `json` also as a record."""

    def on_event(event: Event) -> None:
        match event:
            case Notice(line) | WarningGiven(line) | StageReached(line):
                if json:
                    print_records([{"said": line}])
                progress.print(f"{command}: {line}", markup=False, soft_wrap=True)

    return on_event


def bar_listener(bar: Progress, task: TaskID, field: str = "") -> Listener:
    """A listener that advances a task of a bar; `field`: the task's field that shows the piece finished last."""

    def on_event(event: Event) -> None:
        if isinstance(event, events.Progress):
            fields: dict[str, Any] = {field: event.what} if field else {}
            bar.update(task, completed=event.done, total=event.total, **fields)

    return on_event


def _plain(value: Any) -> Any:
    """Convert a value for JSON: numpy scalars to Python's, NaN and infinities to None."""
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
