"""The whole of `earwitness blame`: how much of the MOS each cause took, as tables and stacked bars."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from earwitness.archive.spreadsheet import write_csv
from earwitness.archive.staging import make_way
from earwitness.archive.storing import check_output, storing
from earwitness.events import Listener, ignore
from earwitness.files import replacing
from earwitness.replay.blame import CAUSES
from earwitness.replay.blame_calls import BlamedCalls, blame_dataset
from earwitness.report import style
from earwitness.report.words import codec_label

LABELS = {
    "codec": "codec",
    "sending": "far phone's sending",
    "loss": "loss",
    "late": "late or discarded",
    "adaptation": "delay adaptation",
    "concealment": "concealment",
    "misalignment": "PESQ's misalignment",
}
"""Labels of the causes in a figure."""

MOST_BARS = 60
_FILES = (".parquet", ".csv", "-summary.csv")
"""Suffixes of the files written in addition to the figure."""
_DRAWN = ["condition", "codec", "buffer", "scored", "blame_whole", *(f"blame_{name}" for name in CAUSES)]


@dataclass(frozen=True)
class BlameReport:
    """The results and the files written."""

    found: BlamedCalls
    files: tuple[Path, ...]


def report_blame(
    dataset: Path,
    *,
    buffer: str | None = None,
    out: Path | None = None,
    reference: str | Path | None = None,
    captures: Path | None = None,
    calls: int | None = None,
    executor: Executor | None = None,
    on_event: Listener = ignore,
) -> BlameReport:
    """How much of the MOS of each direction of a data set each cause took.

    Writes blame.parquet and blame.csv (one row per call and direction), blame-summary.csv, and blame.pdf and .png into
    `out` (default: the folder blame of the data set). Arguments and errors are as for
    `replay.blame_calls.blame_dataset`.
    """
    folder = out or dataset / "blame"
    _make_way(folder)
    found = blame_dataset(
        dataset,
        buffer=buffer,
        out=folder,
        reference=reference,
        captures=captures,
        calls=calls,
        executor=executor,
        on_event=on_event,
    )
    with storing(folder / "blame.csv"):
        _make_way(folder)
        with replacing(folder / "blame.parquet") as draft:
            found.calls.to_parquet(draft, index=False)
        write_csv(found.calls, folder / "blame.csv", "%.6g")
        write_csv(found.summary, folder / "blame-summary.csv", "%.6g")
        figures = draw_blame(found.summary, folder / "blame")
    return BlameReport(found, (*(folder / f"blame{end}" for end in _FILES), *figures))


def _make_way(folder: Path) -> None:
    make_way(folder, "blame*")
    check_output(*(folder / f"blame{end}" for end in (*_FILES, ".pdf", ".png")))


@style.paper()
def draw_blame(summary: pd.DataFrame, stem: Path) -> list[Path]:
    """One bar per path and codec: the mean MOS taken by each cause; what a cause gave back is left of zero.

    The parts right of zero minus those left of it are the total loss (the diamond). Only the first `MOST_BARS` are
    drawn, because a page has no room for more; the tables have all.
    """
    scored = summary[summary["scored"] > 0] if len(summary) else pd.DataFrame(columns=_DRAWN)
    rows = scored.iloc[:MOST_BARS].iloc[::-1]
    drawing, axes = style.new_figure("page", 1.1 + 0.27 * len(rows))
    at = np.arange(len(rows))
    right, left = np.zeros(len(rows)), np.zeros(len(rows))
    for index, name in enumerate(CAUSES):
        part = rows[f"blame_{name}"].to_numpy(dtype=float)
        begin = np.where(part >= 0, right, left)
        axes.barh(at, part, left=begin, height=0.7, linewidth=0.5, **style.series_style(index, LABELS[name]).bar())
        right, left = right + np.maximum(part, 0), left + np.minimum(part, 0)
    axes.plot(
        rows["blame_whole"],
        at,
        color="white",
        marker="D",
        markeredgecolor="black",
        linestyle="none",
        label="lost in all",
    )
    labels = [
        f"{condition}, {codec_label(codec, short=True)}, {buffer} (n = {n})"
        for condition, codec, buffer, n in zip(
            rows["condition"], rows["codec"], rows["buffer"], rows["scored"], strict=True
        )
    ]
    axes.set_yticks(at, [style.without_formulas(label) for label in labels])
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel("MOS-LQO lost, mean over directions")
    axes.grid(visible=False, axis="y")
    drawing.legend(loc="outside lower center", ncols=4)
    return style.save(drawing, stem)
