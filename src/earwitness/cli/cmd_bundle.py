"""`earwitness bundle`: a data set as one file for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, needs, output, print_records, progress

_MOST_TOLD = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bundle)


def bundle(
    dataset: Annotated[Path, typer.Argument(help="The data set.")],
    out: Annotated[Path, typer.Option(help="The file to write, .tar.gz.")],
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Without: no sound, no captures, no packet's payload.")
    ] = True,
    pseudonyms: Annotated[
        bool,
        typer.Option("--pseudonyms", help="Other names for relays, addresses and machines; leaves captures out."),
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw the figures once and keep their hashes.")
    ] = True,
    json: JsonFlag = False,
) -> None:
    """Pack a data set with its study, journal, hashes and versions; `make figures` in it rebuilds every figure.

    The key of the pseudonyms stays in DATASET/study: with it, later bundles use the same ones.
    """
    needs("bundle", "report" if figures else "data")
    import dataclasses

    from earwitness.bundle.bundle import bundle as make

    def draw(data: Path, folder: Path) -> list[Path]:
        from earwitness.report.reproduction.reproduce import reproduce

        result = reproduce(data, folder)
        return [path for figure in result.figures for path in figure.files]

    made = make(dataset, out, audio=audio, pseudonyms=pseudonyms, draw=draw if figures else None)
    if json:
        print_records([dataclasses.asdict(made)])
        return
    left_out = ", ".join(f"{count} {kind}" for kind, count in made.left_out.items()) or "nothing"
    output.print(
        f"{made.path}: {made.calls:,} calls, {made.files:,} files, {made.size / 2**20:,.1f} MiB, {made.figures}"
        f" figures' hashes; left out: {left_out}",
        markup=False,
        soft_wrap=True,
    )
    for stranger in made.strangers[:_MOST_TOLD]:
        progress.print(f"left out: {stranger}", markup=False, soft_wrap=True)
    if len(made.strangers) > _MOST_TOLD:
        progress.print(f"left out: {len(made.strangers) - _MOST_TOLD} more; --json names all", markup=False)
    output.print(f"sha256 {made.sha256}", markup=False, soft_wrap=True)
