"""`earwitness bundle`: packs a data set into one file to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress

_MOST_TOLD = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(bundle)


def bundle(
    dataset: Annotated[Path, typer.Argument(help="Data set: a folder that `call`, `study run` or `import` made.")],
    out: Annotated[Path, typer.Option(help="File to write: NAME.tar.gz.", rich_help_panel=panels.RESULT)],
    audio: Annotated[
        bool,
        typer.Option(
            "--audio/--no-audio",
            help="Include sound, captures and the payload of packets.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = True,
    pseudonyms: Annotated[
        bool,
        typer.Option(
            "--pseudonyms",
            help="Replace the names of relays, addresses and machines by pseudonyms, and leave out captures.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = False,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures/--no-figures", help="Draw every figure once and store its hash.", rich_help_panel=panels.CHOICE
        ),
    ] = True,
    json: JsonFlag = False,
) -> None:
    """Pack a data set with its study, journal, hashes and versions; `make figures` in the bundle redraws every figure.

    The key of the pseudonyms stays in DATASET/study, so later bundles use the same pseudonyms.
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
