"""Commands whose options are the fields of a dataclass: declared once, with their help, and passed as one value."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from earwitness.cli import panels

T = TypeVar("T")

MachineName = Annotated[
    str,
    typer.Option(help="Name of this machine in the records. Default: its host name.", rich_help_panel=panels.RECORDS),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option(help="Folder for measurements. Default: ~/.local/state/earwitness.", rich_help_panel=panels.RECORDS),
]


def taking(options: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Turn a function of one `options` value into a function for Typer, with one parameter per field.

    Each field is Annotated with a `typer.Option` or `typer.Argument`; its default is the option's.
    """
    hints = get_type_hints(options, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(options)  # type: ignore[arg-type]
    ]

    def decorate(run: Callable[[T], None]) -> Callable[..., None]:
        @functools.wraps(run)
        def command(**values: Any) -> None:
            run(options(**values))

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        return command

    return decorate
