"""`earwitness`: the command line."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
import traceback
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

import earwitness.cli
from earwitness.archive.problems import FULL
from earwitness.cli import streams
from earwitness.cli.common import output, progress
from earwitness.cli.naming import CommandLine
from earwitness.cli.running import INTERRUPTED
from earwitness.cli.terminal import VisibleFormatter, show_refusal
from earwitness.errors import EarwitnessError, InputError
from earwitness.extras import naming_extras
from earwitness.netns import termination
from earwitness.version import __version__


class _Commands(TyperGroup):
    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the command line. Typer would end without a message on a signal, and as if by Ctrl-C."""
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt:
            _end("interrupted; what was measured is kept", termination.exit_code())

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command. Typer would end an interrupted one without a message."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _end("interrupted; what was measured is kept", termination.exit_code())
        except typer.Exit as ended:
            # Commands that shut down cleanly report it themselves, with the exit code of Ctrl-C.
            raise typer.Exit(termination.exit_code() if ended.exit_code == INTERRUPTED else ended.exit_code) from None


app = CommandLine(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Place real voice calls over Tor, hear what arrives, explain what went wrong, show what would fix it.",
)


def _show_version(value: bool) -> None:
    if value:
        output.print(f"earwitness {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Options before the command."""


for _module in sorted(module.name for module in pkgutil.iter_modules(earwitness.cli.__path__)):
    if _module.startswith("cmd_"):
        importlib.import_module(f"earwitness.cli.{_module}").register(app)


def main() -> None:
    """Run the command line; errors that users can fix become one line on standard error and an exit code."""
    streams.settle()
    termination.handle_termination_signals()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter())
    try:
        with naming_extras("running", _command()):  # if a command did not check for it first
            sys.exit(app(standalone_mode=False))
    except EarwitnessError as error:
        _end(str(error), error.exit_code)
    except OSError as error:  # files, devices and limits of this machine, not translated into an error of ours
        remedy = "free some space" if error.errno in FULL else "check that it exists and that you may use it"
        _end(str(EarwitnessError("running", _command(), error, remedy)), 1)
    except UnicodeEncodeError as error:  # a name that is not UTF-8, where text is required
        name = ascii(error.object[max(0, error.start - 40) : error.end + 40])
        remedy = "give the file or folder another name"
        _end(str(InputError("writing", f"the name {name}", "it is not UTF-8", remedy)), InputError.exit_code)
    except KeyboardInterrupt:
        _end("interrupted; what was measured is kept", termination.exit_code())
    except Exception as fault:  # a refusal by Typer, or a bug, whose text may come from outside
        code = show_refusal(fault)
        if code is None:
            progress.print(traceback.format_exc().rstrip(), soft_wrap=True)
        sys.exit(code or 1)


def _command() -> str:
    return " ".join(["earwitness", *sys.argv[1:2]])


def _end(line: str, code: int) -> NoReturn:
    progress.print(f"earwitness: {line}", markup=False, soft_wrap=True)
    sys.exit(code)
