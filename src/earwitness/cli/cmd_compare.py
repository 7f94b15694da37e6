"""`earwitness compare`: paired differences between calls."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_records, show_problems


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(compare)


def compare(
    dataset: Annotated[Path, typer.Argument(help="Data set: a folder that `call`, `study run` or `import` made.")],
    by: Annotated[
        str,
        typer.Option(
            help="Axis to compare: path, codec, places, speech, phone, load, link, buffer or concealment.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = "path",
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of the rows, completed or acceptable; repeat it for several. Default: the usual ones.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None,
    any_instrument: Annotated[
        bool,
        typer.Option(
            "--any-instrument",
            help="Include calls that failed the instrument check (this machine's own timing).",
            rich_help_panel=panels.CHOICE,
        ),
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=10, help="Number of resamples for each interval.", rich_help_panel=panels.METHOD)
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.", rich_help_panel=panels.METHOD)] = 1,
    json: JsonFlag = False,
) -> None:
    """Compare calls that differ in one axis only: paired differences, 95 % intervals, effect sizes.

    Two calls form a pair if they belong to the same repeat of a study (without a study: have the same seed) and are
    equal in all but the axis. Intervals resample whole pairs of places. `d_z` is Cohen's d of the paired differences;
    `higher` is the share of pairs in which the second call is higher; ties count half. `completed` and `acceptable`
    are shares of calls.
    """
    from rich.table import Table

    needs("compare", "data")
    from earwitness.analysis.paired import COMPARED
    from earwitness.analysis.paired import compare as compare_rows
    from earwitness.archive.dataset import Dataset

    rows = Dataset.open(dataset).rows()
    show_problems("compare", rows.attrs["problems"])
    found = compare_rows(
        rows,
        by,
        measure or COMPARED,
        resamples=resamples,
        seed=seed,
        any_instrument=any_instrument,
    )
    if json:
        print_records(one.to_dict() for one in found)
        print_records(problem.to_dict() for problem in rows.attrs["problems"])
        return
    for a, b in dict.fromkeys((one.a, one.b) for one in found):
        table = Table("measure", "pairs", a, b, "difference", "95 % interval", "d_z", "higher", "left out")
        chosen = [one for one in found if (one.a, one.b) == (a, b)]
        for one in chosen:
            interval = "" if math.isnan(one.low) else f"{one.low:+.3g} … {one.high:+.3g}"
            numbers = (
                _short(one.mean_a),
                _short(one.mean_b),
                _short(one.difference, "+"),
                interval,
                _short(one.d_z),
            )
            table.add_row(one.measure, str(one.pairs), *numbers, _short(one.b_higher), str(one.left_out))
        output.print(table)
        for note in dict.fromkeys(one.note for one in chosen if one.note):
            output.print(f"  {note}", markup=False)


def _short(value: float, sign: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{sign}.3g}"
