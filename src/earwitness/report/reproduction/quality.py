"""Figures of how calls sound: PESQ by condition, codec, place, circuit length and jitter."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from earwitness.analysis.statistics import correlate
from earwitness.published.methods import ends_completed
from earwitness.report.reproduction.drawing import (
    FigureData,
    NotDrawn,
    box,
    cdf,
    counts_text,
    legend_above,
    line_with_points,
    note,
    share_axis,
)
from earwitness.report.style import Mark, codec_style, new_figure, panels, without_formulas

MAX_PLACES = 12


def draw_pesq_cdf(study: FigureData) -> tuple[Figure, str]:
    """How good calls sound: the distribution of MOS-LQO in each condition."""
    drawing, axes = new_figure()
    counts, failed = [], []
    for condition, group, mark in study.groups("mos_lqo"):
        scores = ends_completed(group)["mos_lqo"]
        cdf(axes, scores, mark)
        counts.append((condition, len(scores)))
        failed.append(f"{condition} {(group['mos_lqo'] == 0).sum():,}")
    if not counts:
        raise NotDrawn("no PESQ scores in this study")
    note(axes, 3.0, "MOS-LQO 3.0", 0.3)
    axes.set(xlim=(1, 4.6), xlabel="MOS-LQO (P.862.1)")
    share_axis(axes)
    legend_above(axes)
    return drawing, f"Ends scored: {counts_text(counts)}. Left out, score 0.00 (failed): {', '.join(failed)}."


def draw_codec_box(study: FigureData) -> tuple[Figure, str]:
    """MOS-LQO by codec and condition: median, quartiles, and the 5th and 95th percentile."""
    groups = [(c, ends_completed(g), m) for c, g, m in study.groups("mos_lqo")]
    codecs = [
        c for c in ("opus", "g711u", "g711a", "speex", "gsm") if any((g["codec"] == c).any() for _, g, _ in groups)
    ]
    codecs += sorted({str(c) for _, g, _ in groups for c in g["codec"].unique()} - set(codecs))
    if not codecs:
        raise NotDrawn("no PESQ scores with a codec in this study")
    drawing, axes = new_figure()
    counts = []
    for turn, (condition, group, mark) in enumerate(groups):
        for position, codec in enumerate(codecs):
            scores = group[group["codec"] == codec]["mos_lqo"].to_numpy(dtype=float)
            if len(scores):
                box(
                    axes, scores, position + (turn - (len(groups) - 1) / 2) * 0.8 / len(groups), 0.7 / len(groups), mark
                )
        counts.append((condition, len(group)))
    axes.set_xticks(range(len(codecs)), [without_formulas(codec_style(c).label) for c in codecs])
    axes.set(ylim=(1, 4.6), ylabel="MOS-LQO (P.862.1)", xlim=(-0.5, len(codecs) - 0.5))
    axes.grid(axis="x", visible=False)
    axes.legend(
        handles=[Patch(**{**m.bar(), "linewidth": 0.6}) for _, _, m in groups], loc="lower center",
        bbox_to_anchor=(0.5, 1.0), ncols=min(len(groups), 3), columnspacing=1.0, handlelength=1.8,
    )  # fmt: skip
    return (
        drawing,
        f"Boxes: quartiles and median; whiskers: 5th and 95th percentile. Ends scored: {counts_text(counts)}.",
    )


def draw_place_cdf(study: FigureData) -> tuple[Figure, str]:
    """MOS-LQO by pair of places, a panel each."""
    groups = [(c, ends_completed(g), m) for c, g, m in study.groups("mos_lqo")]
    sizes = pd.concat([g["place"] for _, g, _ in groups]).value_counts() if groups else pd.Series(dtype=int)
    if len(sizes) < 2:
        raise NotDrawn("fewer than two pairs of places in this study")
    places = sorted(str(name) for name in sizes.index[:MAX_PLACES])
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    drawing, axes = panels(rows, columns, "page", 0.5 + 1.35 * rows)
    for position, place in enumerate(places):
        panel = axes[position]
        for _, group, mark in groups:
            scores = group[group["place"] == place]["mos_lqo"]
            if len(scores) > 1:
                cdf(panel, scores, mark)
        panel.set(
            xlim=(1, 4.6), ylim=(0, 1.02), title=without_formulas(str(place)), xticks=(1, 2, 3, 4), yticks=(0, 0.5, 1)
        )
        panel.tick_params(labelleft=position % columns == 0, labelbottom=position + columns >= len(places))
    for panel in axes[len(places) :]:
        panel.remove()
    drawing.supxlabel("MOS-LQO (P.862.1)", fontsize=8)
    drawing.supylabel("share of call ends", fontsize=8)
    handles = [axes[0].plot([], [], **mark.line())[0] for _, _, mark in groups]
    drawing.legend(handles=handles, loc="outside upper center", ncols=max(len(handles), 1))
    left = (
        f" The {len(sizes) - len(places)} pairs with the fewest calls are not shown."
        if len(sizes) > len(places)
        else ""
    )
    return drawing, f"Completed ends by pair of places (caller – callee).{left}"


def draw_pesq_jitter(study: FigureData) -> tuple[Figure, str]:
    """MOS-LQO against the standard deviation of jitter, with each codec's median along it."""
    groups = [(c, g[(g["mos_lqo"] > 0) & (g["jitter_sd_ms"] > 0)]) for c, g, _ in study.groups("jitter_sd_ms", 10)]
    groups = [(condition, group) for condition, group in groups if len(group) >= 10]
    if not groups:
        raise NotDrawn("no ends with both PESQ and jitter in this study")
    drawing, axes = panels(1, len(groups), "page" if len(groups) > 1 else "column", 2.5)
    low = min(group["jitter_sd_ms"].min() for _, group in groups)
    high = max(group["jitter_sd_ms"].max() for _, group in groups)
    codecs: dict[str, Mark] = {}
    for panel, (condition, group) in zip(axes, groups, strict=True):
        if len(group) > 400:
            panel.hexbin(
                group["jitter_sd_ms"], group["mos_lqo"], xscale="log", gridsize=(38, 22), bins="log", mincnt=1,
                cmap="Greys", linewidths=0.1, extent=(np.log10(low), np.log10(high), 1, 4.6),
            )  # fmt: skip
        else:
            for codec, of_codec in group.groupby("codec"):
                points = {**codec_style(str(codec)).points(), "label": None, "markersize": 2.6, "markeredgewidth": 0}
                panel.plot(of_codec["jitter_sd_ms"], of_codec["mos_lqo"], **points)
        for codec, of_codec in group.groupby("codec"):
            codecs[str(codec)] = mark = codec_style(str(codec))
            edges = np.unique(np.quantile(of_codec["jitter_sd_ms"], np.linspace(0, 1, 9)))
            if len(of_codec) >= 80 and len(edges) > 3:
                part = np.searchsorted(edges[1:-1], of_codec["jitter_sd_ms"].to_numpy(dtype=float))
                line = of_codec.groupby(part)[["jitter_sd_ms", "mos_lqo"]].median()
                panel.plot(line["jitter_sd_ms"], line["mos_lqo"], **line_with_points(mark))
        found = correlate(group["mos_lqo"], group["jitter_sd_ms"])
        panel.set_xscale("log")
        panel.set(ylim=(1, 4.6), xlim=(low, high), xlabel="standard deviation of jitter, ms")
        panel.set_title(
            f"{without_formulas(str(condition))}, n = {found.n:,}\n"
            f"r = {found.pearson:.2f}, ρ = {found.spearman:.2f}, τ = {found.kendall:.2f}",
            fontsize=7,
        )
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for panel in axes[1:]:
        panel.tick_params(labelleft=False)
    axes[0].set_ylabel("MOS-LQO (P.862.1)")
    handles = [
        axes[0].plot([], [], **line_with_points(mark), label=without_formulas(mark.label))[0]
        for mark in codecs.values()
    ]
    drawing.legend(handles=handles, loc="outside upper center", ncols=max(1, min(len(handles), 5)))
    return drawing, (
        "Grey: ends (darker: more), or single ends where there are few. Lines: each codec's median over eighths of its"
        " ends. r: Pearson, ρ: Spearman, τ: Kendall, all codecs pooled."
    )


def draw_hops(study: FigureData) -> tuple[Figure, str]:
    """One hop fewer: quality and jitter over circuits of different length."""
    groups = [(c, g, m) for c, g, m in study.groups("mos_lqo") if int(g["hops"].iloc[0] or 0) > 0]
    if len({int(group["hops"].iloc[0]) for _, group, _ in groups}) < 2:
        raise NotDrawn("calls over circuits of one length only")
    drawing, axes = panels(1, 2, "page", 2.2)
    for _, group, mark in groups:
        cdf(axes[0], ends_completed(group)["mos_lqo"], mark)
        jitter = group["jitter_mean_ms"].dropna()
        if len(jitter):
            cdf(axes[1], jitter[jitter > 0], mark)
    axes[0].set(xlim=(1, 4.6), xlabel="MOS-LQO (P.862.1)")
    axes[1].set(xlabel="mean jitter of a call, ms")
    axes[1].set_xscale("log")
    axes[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for panel in axes:
        share_axis(panel)
    axes[0].legend(loc="lower right")
    counts = counts_text([(condition, len(ends_completed(group))) for condition, group, _ in groups])
    return drawing, f"Completed ends: {counts}."
