"""Draws the trade-off of jitter buffers: listening quality against mouth-to-ear delay, one panel per codec."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from earwitness.ear.buffers import BUFFERS
from earwitness.report import style
from earwitness.report.words import codec_label

MOST_PATHS = 40
"""A figure takes a second, and an untrusted data set can have a different path for every call."""


def draw_tradeoffs(summary: pd.DataFrame, folder: Path) -> dict[str, list[Path]]:
    """A figure for each path, tradeoff-PATH.pdf and .png in `folder`; returns the files by path.

    Each buffer is a point at the mean mouth-to-ear delay and mean MOS-LQO over its directions, with the 95 % interval
    over places; buffers of one kind are joined by a line. Only the first `MOST_PATHS` paths are drawn.
    """
    drawn: dict[str, list[Path]] = {}
    stems: set[str] = set()
    for name, group in islice(summary.groupby("condition"), MOST_PATHS):
        stem = re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")[:100]
        if stem in stems:  # names that differ only in replaced characters
            stem = f"{stem}-{len(stems) + 1}"
        stems.add(stem)
        drawn[str(name)] = _tradeoff(group, folder / f"tradeoff-{stem}")
    return drawn


@style.paper()
def _tradeoff(summary: pd.DataFrame, stem: Path) -> list[Path]:
    codecs = sorted(set(summary["codec"]))
    across = min(2, len(codecs))
    down = -(-len(codecs) // across)
    drawing, axes = style.panels(down, across, "page" if across > 1 else "column", 0.4 + 2.1 * down)
    known = summary[summary["mos_lqo"].notna() & summary["mouth_to_ear_ms"].notna()]
    for panel, codec in zip(axes, codecs, strict=False):
        of_codec = known[known["codec"] == codec]
        _panel(panel, of_codec)
        n = int(of_codec["scored"].max()) if len(of_codec) else 0
        panel.set_title(style.without_formulas(f"{codec_label(codec, short=True)}, n = {n}"))
        panel.set_ylim(1, 4.75)
        least = float(of_codec["mouth_to_ear_ms"].min()) if len(of_codec) else 0.0
        panel.set_xlim(left=max(0.0, 50.0 * (least // 50.0)))
    for unused in axes[len(codecs) :]:
        unused.set_axis_off()
    for place in range(0, len(codecs), across):
        axes[place].set_ylabel("mean MOS-LQO")
    for place in range(max(0, len(codecs) - across), len(codecs)):
        axes[place].set_xlabel("mean mouth-to-ear delay, ms")
    handles: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        drawing.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return style.save(drawing, stem)


def _panel(axes: Axes, summary: pd.DataFrame) -> None:
    axes.axhline(3.0, color=style.GREY, linewidth=0.6)
    known = BUFFERS.names()
    for position, kind in enumerate(sorted(set(summary["kind"]), key=lambda kind: (kind not in known, kind))):
        mark = style.buffer_style(kind, position)
        points = summary[summary["kind"] == kind].sort_values(["mouth_to_ear_ms", "mos_lqo"])
        delay, mos = points["mouth_to_ear_ms"].to_numpy(), points["mos_lqo"].to_numpy()
        low, high = (points[f"mos_lqo_{end}"].fillna(points["mos_lqo"]).to_numpy() for end in ("low", "high"))
        axes.vlines(delay, low, high, color=mark.colour, linewidth=0.6, alpha=0.6)
        axes.plot(delay, mos, **mark.line(), marker=mark.marker)
