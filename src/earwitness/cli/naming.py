"""Names settings by their command-line options: `hops` is --hops, `from_place` is --from.

Parameters of commands have the names of the fields that they set (`earwitness.call.plan.CallPlan`). So the field of an
`InputError` can be mapped to its option here, and errors need not know the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from earwitness.errors import EarwitnessError, InputError

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS: ContextVar[Mapping[str, str]] = ContextVar("options of the command that runs", default={})  # noqa: B039


class NamingCommand(TyperCommand):
    """A command whose errors name its options, and whose help is wrapped to the terminal."""

    def __init__(self, *arguments: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, help=_filled(help) if help else help, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        restored = _OPTIONS.set(option_names(self))
        try:
            return super().invoke(ctx)
        except InputError as error:
            error.named(_OPTIONS.get())
            raise
        finally:
            _OPTIONS.reset(restored)


class CommandLine(typer.Typer):
    """A group of `NamingCommand`s."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Command], Command]:
        """As Typer's."""
        return super().command(name, **{"cls": NamingCommand, **options})


def option_names(command: TyperCommand) -> dict[str, str]:
    """The first option of each parameter, by the parameter's name; an argument has its name in the help (FILE)."""
    return {
        str(one.name): one.opts[0] if one.param_type_name == "option" else str(one.name).upper()
        for one in command.params
    }


def in_options(error: EarwitnessError) -> str:
    """The text, with the command's option names, of an error after which the command continues."""
    return str(error.named(_OPTIONS.get()) if isinstance(error, InputError) else error)


def _filled(text: str) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap; Typer would keep the source's lines."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
