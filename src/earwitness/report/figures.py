"""Figures of a data set for a paper: delay by path, and listening quality by path and codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from earwitness.archive.dataset import Dataset
from earwitness.archive.problems import Problem, apart
from earwitness.archive.schema import Row
from earwitness.archive.storing import storing
from earwitness.arrays import F64
from earwitness.report import style
from earwitness.report.overview import Distribution, one_direction, pooled
from earwitness.report.words import Way, groups

_LEGEND_LETTERS = 40
"""Letters of a legend that fit next to one another in a column's width."""


def write_figures(dataset: Path | str, folder: Path | str, problems: list[Problem] | None = None) -> list[Path]:
    """Write delay-cdf and mos-by-codec, each as PDF and PNG, into `folder`; returns the paths, fewer if data are
    missing.

    The same data give the same bytes. Calls that cannot be read are skipped and added to `problems`. Raises InputError
    if there is no data set.
    """
    opened = Dataset.open(dataset)
    rows: list[Row] = []
    delays: dict[Way, list[tuple[F64, int]]] = {}
    left_out = [] if problems is None else problems
    for call in opened.readable(left_out):
        if call.record.outcome != "completed":
            continue
        for row in call.rows:
            rows.append(row)
            with apart(call.call_id, left_out, without="its delays in the figure"):
                found = one_direction(call, row.direction)
                if found is not None:
                    delays.setdefault(Way.of(row), []).append(found)
    marks = _marks([group.way for group in groups(rows)])
    written = []
    with storing(Path(folder) / "figures"):
        if delays:
            ordered = {way: delays[way] for way in marks if way in delays}
            written += draw_delay_cdf(pooled(ordered), marks, Path(folder) / "delay-cdf")
        if any(row.mos_lqo is not None for row in rows):
            written += mos_by_codec(rows, marks, Path(folder) / "mos-by-codec")
    return written


@style.paper()
def draw_delay_cdf(spreads: Sequence[Distribution], marks: Mapping[Way, style.Mark], stem: Path) -> list[Path]:
    """Cumulative distribution of one-way delay, one line per way; lost packets keep a line below 1."""
    drawing, axes = style.new_figure()
    for spread in spreads:
        ordered = np.sort(spread.delay_ms)
        share = np.arange(1, len(ordered) + 1) / (len(ordered) + spread.lost)
        keep = np.unique(np.linspace(0, len(ordered) - 1, 1000).astype(int))  # enough for a drawing
        axes.step(ordered[keep], share[keep], where="post", **marks[spread.way].line())
    axes.set_xlabel("one-way delay, ms")
    axes.set_ylabel("share of packets sent")
    axes.set_xlim(left=0, right=1.05 * max(float(np.quantile(spread.delay_ms, 0.995)) for spread in spreads))
    axes.set_ylim(0, 1.01)
    axes.legend(loc="lower right")
    return style.save(drawing, stem)


@style.paper()
def mos_by_codec(rows: Sequence[Row], marks: Mapping[Way, style.Mark], stem: Path) -> list[Path]:
    """MOS-LQO: a group of boxes per codec, one box per way (quartiles, whiskers 1.5 IQR), with each direction as a
    point."""
    drawing, axes = style.new_figure()
    found = groups(rows)
    codecs = sorted({row.codec for row in rows})
    wide = 0.8 / len(found)
    for i, group in enumerate(found):
        mark = marks[group.way]
        for j, codec in enumerate(codecs):
            scores = [row.mos_lqo for row in group.rows if row.codec == codec and row.mos_lqo is not None]
            at = j + (i - (len(found) - 1) / 2) * wide
            if len(scores) >= 5:
                drawn = axes.boxplot(
                    scores, positions=[at], widths=wide * 0.8, patch_artist=True, sym="", manage_ticks=False
                )
                drawn["boxes"][0].set(facecolor=mark.colour, alpha=0.45, hatch=mark.hatch)
                drawn["medians"][0].set(color="black")
            label = "_" if j else style.without_formulas(mark.label)
            axes.plot([at] * len(scores), scores, **{**mark.points(), "label": label}, alpha=0.8)
    axes.set_xticks(range(len(codecs)), [style.without_formulas(style.codec_style(codec).label) for codec in codecs])
    axes.set_ylabel("MOS-LQO")
    axes.set_xlim(-0.5, len(codecs) - 0.5)
    axes.set_ylim(1, 4.75)
    axes.grid(visible=False, axis="x")
    columns = max(1, _LEGEND_LETTERS // max(1, *(len(group.way.label) for group in found)))
    drawing.legend(loc="outside upper left", ncols=min(len(found), columns), columnspacing=1.0, handletextpad=0.2)
    return style.save(drawing, stem)


def _marks(ways: Sequence[Way]) -> dict[Way, style.Mark]:
    """A mark for each way: its path's; a path under several conditions has a separate one for each."""
    paths = {(way.path, way.hops) for way in ways}
    if len(paths) == len(ways):
        return {way: replace(style.path_style(way.path, way.hops), label=way.label) for way in ways}
    return {way: style.series_style(place, way.label) for place, way in enumerate(ways)}
