"""What the user of the command line calls a setting: `hops` is --hops, `from_place` is --from.

The parameters of commands are named as the values are that they set (`earwitness.call.plan.CallPlan`), so that an
`InputError` that names its field finds its option here, and no error has to know the command line.
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
    """A command whose errors call settings by its options, and whose help fills its lines."""

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
    """The first option of each parameter by its name; an argument is called as the help calls it (FILE)."""
    return {
        str(one.name): one.opts[0] if one.param_type_name == "option" else str(one.name).upper()
        for one in command.params
    }


def in_options(error: EarwitnessError) -> str:
    """An error that a command shows and goes on after, in the words of its options."""
    return str(error.named(_OPTIONS.get()) if isinstance(error, InputError) else error)


def _filled(text: str) -> str:
    """A docstring whose paragraphs are a line each, which the terminal breaks; Typer keeps the source's lines."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
