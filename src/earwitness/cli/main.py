"""`earwitness`: the command line."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
import traceback

import typer

import earwitness.cli
from earwitness import __version__
from earwitness.cli.common import output, progress
from earwitness.cli.terminal import VisibleFormatter, show_refusal
from earwitness.errors import EarwitnessError

app = typer.Typer(
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
    """Options that come before the command."""


for _module in sorted(module.name for module in pkgutil.iter_modules(earwitness.cli.__path__)):
    if _module.startswith("cmd_"):
        importlib.import_module(f"earwitness.cli.{_module}").register(app)


def main() -> None:
    """Run the command line; an `EarwitnessError` becomes one line on standard error and its exit code."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter())
    try:
        sys.exit(app(standalone_mode=False))
    except EarwitnessError as error:
        progress.print(f"earwitness: {error}", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        progress.print("earwitness: interrupted; what was measured is kept", markup=False)
        sys.exit(130)
    except Exception as fault:  # a refusal of Typer's, or a fault of ours, whose words may be a stranger's
        code = show_refusal(fault)
        if code is None:
            progress.print(traceback.format_exc().rstrip(), soft_wrap=True)
        sys.exit(code or 1)
