"""The whole of `earwitness whatif`: replay, tables, trade-off figures and one self-contained page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from earwitness.archive.spreadsheet import write_csv
from earwitness.archive.staging import make_way, write_atomically
from earwitness.archive.storing import check_output, storing
from earwitness.ear.account import HALF_RTT
from earwitness.events import Listener, ignore
from earwitness.files import replacing
from earwitness.replay.whatif import DEFAULT_BUFFERS, WhatIf, what_if
from earwitness.report.templates import template
from earwitness.report.whatif_figures import draw_tradeoffs
from earwitness.report.words import codec_label, number_text, percent_text
from earwitness.version import __version__

_MOST_REASONS = 20
_FILES = ("whatif.html", "whatif-calls.parquet", "whatif-calls.csv", "whatif-summary.csv")
"""Suffixes of the files written in addition to the figures."""
BASES = {
    "sent": "measured: both ends' packets were timed by one clock",
    HALF_RTT: "the minimum network delay is estimated from half of RTCP's round trip",
    "fastest packet": "without the minimum network delay, which a capture at one end cannot show",
}
"""Meaning of each `mouth_to_ear_basis`."""


@dataclass(frozen=True)
class WhatIfReport:
    """The results and the files written, the page first."""

    found: WhatIf
    files: tuple[Path, ...]


def report_what_if(
    dataset: Path,
    buffers: Sequence[str] = DEFAULT_BUFFERS,
    *,
    out: Path | None = None,
    reference: str | Path | None = None,
    captures: Path | None = None,
    calls: int | None = None,
    executor: Executor | None = None,
    on_event: Listener = ignore,
) -> WhatIfReport:
    """Every direction of a data set through every buffer, as tables, figures and a page in `out`.

    Writes whatif.html, whatif-calls.parquet and .csv (one row per call, direction and buffer), whatif-summary.csv (one
    row per path, codec and buffer) and tradeoff-PATH.pdf and .png. `out`: by default the folder whatif of the data set.
    The same data set gives the same bytes, regardless of the number of workers. Arguments and errors are as for
    `replay.whatif.what_if`.
    """
    folder = out or dataset / "whatif"
    _make_way(folder)
    found = what_if(
        dataset,
        buffers,
        out=folder,
        reference=reference,
        captures=captures,
        calls=calls,
        executor=executor,
        on_event=on_event,
    )
    with storing(folder / _FILES[0]):
        _make_way(folder)
        tables = write_tables(found, folder)
        figures = draw_tradeoffs(found.summary, folder)
        page = write_whatif_page(folder / _FILES[0], found, figures)
    return WhatIfReport(found, (page, *tables, *(path for paths in figures.values() for path in paths)))


def _make_way(folder: Path) -> None:
    make_way(folder, "whatif*", "tradeoff-*")
    check_output(*(folder / name for name in _FILES))


def write_tables(found: WhatIf, folder: Path) -> list[Path]:
    """Write the rows and the summary."""
    rows, text, summary = (folder / name for name in _FILES[1:])
    with replacing(rows) as draft:
        found.calls.to_parquet(draft, index=False)
    write_csv(found.calls, text, "%.6g")
    write_csv(found.summary, summary, "%.6g")
    return [rows, text, summary]


def write_whatif_page(path: Path, found: WhatIf, figures: dict[str, list[Path]]) -> Path:
    """Write the page: a figure and a table for each path, every text escaped, every figure embedded."""
    reasons, unscored = (
        pd.Series([why for _, _, why in of], dtype="object").value_counts().head(_MOST_REASONS)
        for of in (found.left_out, found.refused)
    )
    text = template("whatif.html.j2").render(
        version=__version__,
        directions=found.calls[["call_id", "direction"]].drop_duplicates().shape[0],
        calls=found.calls["call_id"].nunique(),
        buffers=found.calls["buffer"].nunique(),
        refused=int((found.calls["refused"] != "").sum()),
        left_out=list(reasons.items()),
        reasons=list(unscored.items()),
        paths=[_path(name, group, figures.get(str(name), ())) for name, group in found.summary.groupby("condition")],
    )
    write_atomically(path, text.encode(), durable=False)
    return path


def _path(name: Any, summary: pd.DataFrame, files: Sequence[Path]) -> dict[str, Any]:
    picture = next((path for path in files if path.suffix == ".png"), None)
    return {
        "name": str(name),
        "image": "" if picture is None else base64.b64encode(picture.read_bytes()).decode("ascii"),
        "basis": [_basis(str(basis), group) for basis, group in summary.groupby("mouth_to_ear_basis") if basis],
        "codecs": [
            {"name": codec_label(str(codec)), "rows": [reader_row(row) for row in group.to_dict("records")]}
            for codec, group in summary.groupby("codec")
        ],
    }


def _basis(basis: str, summary: pd.DataFrame) -> str:
    meant = "; in part ".join(BASES.get(one, one) for one in basis.split(", "))
    return f"{meant} ({', '.join(sorted(map(codec_label, set(summary['codec']))))})"


def reader_row(row: dict[Any, Any]) -> dict[str, str]:
    """One line of the summary for a reader."""
    return {
        "buffer": str(row["buffer"]),
        "n": number_text(int(row["scored"]))
        + (f" of {number_text(int(row['n']))}" if row["n"] != row["scored"] else ""),
        "above 3.0, %": _with_interval(row, "share_above_3", scale=100.0),
        "MOS-LQO": _with_interval(row, "mos_lqo", digits=2),
        "added, ms": number_text(row["playout_delay_ms"]),
        "mouth to ear, ms": _with_interval(row, "mouth_to_ear_ms"),
        "MOS-CQE": number_text(row["mos_cqe_heard"], 2),
        "late": percent_text(row["late_ratio"]),
        "concealed": percent_text(row["concealed_ratio"]),
    }


def _with_interval(row: dict[Any, Any], name: str, digits: int = 0, scale: float = 1.0) -> str:
    value, low, high = (row[f"{name}{end}"] * scale for end in ("", "_low", "_high"))
    between = "" if math.isnan(low) else f" ({number_text(low, digits)}–{number_text(high, digits)})"
    return f"{number_text(value, digits)}{between}"
