"""`earwitness query`: SQL over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_csv, print_records, show_problems


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(query)


def query(
    dataset: Annotated[Path, typer.Argument(help="Data set: a folder that `call`, `study run` or `import` made.")],
    sql: Annotated[str, typer.Argument(help="SQL query, in DuckDB's dialect.")],
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV instead of a table.", rich_help_panel=panels.RESULT)
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Run an SQL query over a data set.

    Tables: calls (one row per call and direction; columns in docs/data-dictionary.md), packets, frames, truth, and for
    a study planned and attempts. Example: "SELECT arm, median(mos_lqo) FROM calls GROUP BY arm".
    """
    needs("query", "query")
    from rich.table import Table

    from earwitness.study.query import query as ask

    answer = ask(dataset, sql)
    show_problems("query", answer.problems)
    if json:
        print_records(answer.records())
    elif csv:
        print_csv(answer.columns, answer.rows)
    else:
        table = Table(*answer.columns)
        for row in answer.rows:
            table.add_row(
                *("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value) for value in row)
            )
        output.print(table)
