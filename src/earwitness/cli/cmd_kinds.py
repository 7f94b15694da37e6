"""`earwitness kinds`: lists codecs, buffers and other kinds, built in and from plug-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, output, print_records, progress

if TYPE_CHECKING:
    from earwitness.plugins import Kind, Registry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.MACHINE)(kinds)


def kinds(
    what: Annotated[
        str, typer.Argument(help="Kind to list: codecs, buffers, scorers, paths or phones. Default: all.")
    ] = "",
    json: JsonFlag = False,
) -> None:
    """List codecs, jitter buffers, scorers, paths and phones: name, options, and the package that adds it.

    A plug-in that cannot be loaded is reported on standard error.
    """
    from rich.table import Table

    from earwitness.errors import InputError

    registries = _registries()
    if what and what not in registries:
        raise InputError(
            "listing", what, "there is no such kind", f"choose one of {', '.join(registries)}", field="what"
        )
    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "name and options", "what it is", "package"):
        table.add_column(heading, overflow="fold")
    for point, registry in registries.items():
        if what not in ("", point):
            continue
        listed = registry.listed()
        for broken in listed.broken:
            progress.print(f"kinds: the {registry.what} {broken}", markup=False, soft_wrap=True)
        if json:
            print_records(
                {"kind": point, "name": kind.name, "usage": _usage(kind), "summary": kind.summary, "package": package}
                for kind, package in listed.kinds
            )
        for kind, package in listed.kinds:
            table.add_row(registry.what, _usage(kind), kind.summary, package or "built in")
    if not json:
        output.print(table)


def _usage(kind: Kind) -> str:
    from earwitness.speech.codecs.kind import CodecKind

    return kind.usage_with_ptime if isinstance(kind, CodecKind) else kind.usage


def _registries() -> dict[str, Registry[Any]]:
    from earwitness.ear.buffers import BUFFERS
    from earwitness.path.registry import PATHS
    from earwitness.phone.registry import PHONES
    from earwitness.score.scorers import SCORERS
    from earwitness.speech.codecs.registry import CODECS

    return {"codecs": CODECS, "buffers": BUFFERS, "scorers": SCORERS, "paths": PATHS, "phones": PHONES}
