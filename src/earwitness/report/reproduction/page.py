"""The reproduction as one self-contained HTML page: tables, inline figures, no script, no network."""

from __future__ import annotations

import base64
from itertools import groupby
from pathlib import Path
from typing import Any

from earwitness.archive.staging import write_atomically
from earwitness.report.reproduction.result import Reproduction
from earwitness.report.reproduction.text import (
    corrected_text,
    lessons_text,
    reader_table,
    remark_text,
    rows_text,
    verdict_text,
)
from earwitness.report.templates import template
from earwitness.version import __version__

TABLE_TITLES = {
    "conditions": (
        "Conditions side by side",
        "Completed ends; shares with 95 % bootstrap intervals over calls clustered by place.",
    ),
    "raw-files": (
        "Raw files",
        "Ends measured from the captures and recordings at hand. Gaps and spikes: a call end, on average.",
    ),
    "codecs": ("By codec", "Both ends, failed scores left out."),
    "places": ("By place", "Both ends, failed scores left out. One place has no interval."),
    "correlations": (
        "Correlations",
        "Of each end. The interval is Spearman's, over calls clustered by place.",
    ),
    "doubtful-batches": (
        "Calls that do not look like their label",
        "Found by comparing each batch with the others; the published numbers include them, so do the recomputed ones.",
    ),
}


def write_reproduction_page(path: Path, result: Reproduction) -> Path:
    """Write the page; every text is escaped, every figure is embedded as PNG."""
    text = template("reproduction.html.j2").render(
        version=__version__,
        sources=result.sources,
        counts=result.counts(),
        total=len(result.numbers),
        groups=_number_groups(result),
        row_sentences=rows_text(result.rows),
        lessons=lessons_text(result.numbers, result.tables),
        figures=[
            {
                "title": figure.title,
                "caption": figure.caption,
                "name": figure.name,
                "image": _png(figure.files),
                "wide": figure.wide,
            }
            for figure in result.figures
        ],
        not_drawn=result.not_drawn,
        tables=[_shown(result, name) for name in TABLE_TITLES if len(result.tables.get(name, ()))],
        imported=result.imported.to_dict() if result.imported else None,
    )
    write_atomically(path, text.encode(), durable=False)
    return path


def _shown(result: Reproduction, name: str) -> dict[str, Any]:
    title, note = TABLE_TITLES[name]
    heads, rows = reader_table(result.tables[name])
    numeric = [all(not row[column] or row[column][0] in "0123456789-" for row in rows) for column in range(len(heads))]
    return {"title": title, "note": note, "heads": list(zip(heads, numeric, strict=True)), "rows": rows}


def _number_groups(result: Reproduction) -> list[dict[str, Any]]:
    """The numbers by group; a condition or remark shared by consecutive rows spans them."""
    groups = []
    for title, members in groupby(result.numbers, key=lambda number: number.group):
        rows = [
            {
                "condition": number.condition,
                "quantity": number.quantity,
                "published": number.published,
                "recomputed": number.recomputed,
                "verdict": verdict_text(number),
                "corrected": corrected_text(number),
                "remark": remark_text(number),
            }
            for number in members
        ]
        _span(rows, "condition")
        _span(rows, "remark")
        groups.append({"title": title, "rows": rows})
    return groups


def _span(rows: list[dict[str, Any]], name: str) -> None:
    """Give the first of each run of equal cells the run's length under `<name>_span`, the others 0."""
    for _, run in groupby(rows, key=lambda row: str(row[name])):
        members = list(run)
        for position, row in enumerate(members):
            row[f"{name}_span"] = len(members) if position == 0 else 0


def _png(files: tuple[Path, ...]) -> str:
    picture = next(path for path in files if path.suffix == ".png")
    return base64.b64encode(picture.read_bytes()).decode("ascii")
