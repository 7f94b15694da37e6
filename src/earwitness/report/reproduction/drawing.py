"""Shared parts of the study's figures: their data, the marks of its conditions, curves and boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import Normal, Stroke

from earwitness.analysis.statistics import ecdf
from earwitness.arrays import F64
from earwitness.path.registry import DIRECT, TOR
from earwitness.report.style import GREY, Mark, path_style


@dataclass(frozen=True)
class FigureData:
    """The data for the figures.

    `ends` is the tidy frame, `conditions` its conditions in order. `packets` are the ends for which single packets are
    known (raw files), if not all of `ends`. `metrics_*` are Tor Metrics' tables.
    """

    ends: pd.DataFrame
    conditions: tuple[str, ...]
    packets: pd.DataFrame
    metrics_latency: pd.DataFrame | None = None
    metrics_throughput: pd.DataFrame | None = None

    def groups(self, needed: str, least: int = 2) -> Iterator[tuple[str, pd.DataFrame, Mark]]:
        """Each condition with `needed` measured at `least` ends or more, its ends, and its mark."""
        yield from _groups(self.ends, self.conditions, needed, least)

    def packet_groups(self, needed: str) -> Iterator[tuple[str, pd.DataFrame, Mark]]:
        """As `groups`, for the ends whose packets are known."""
        order = [str(name) for name in self.packets["condition"].unique()]
        yield from _groups(self.packets, sorted(order), needed, 2)


def _groups(
    ends: pd.DataFrame, conditions: Sequence[str], needed: str, least: int
) -> Iterator[tuple[str, pd.DataFrame, Mark]]:
    for condition in conditions:
        group = ends[ends["condition"] == condition]
        if group[needed].notna().sum() >= least:
            yield condition, group, condition_mark(group)


_OUTLINE = [Stroke(linewidth=2.0, foreground="black"), Normal()]


class NotDrawn(Exception):
    """The reason why a figure cannot be drawn for this study."""


def condition_mark(group: pd.DataFrame) -> Mark:
    """The mark of a condition: the study's Non-Tor as a direct path, the others by path and hops."""
    first = group.iloc[0]
    condition, path, hops = str(first["condition"]), str(first["path"]), int(first["hops"] or 0)
    if condition.startswith("Tor, "):
        path = TOR.name
    elif condition == "Non-Tor":
        path = DIRECT.name
    return replace(path_style(path, hops or None), label=condition)


def cdf(axes: Axes, values: pd.Series[float], mark: Mark) -> None:
    """The empirical distribution of `values` as steps from 0 to 1."""
    x, share = ecdf(values)
    axes.step(np.r_[x[:1], x], np.r_[0.0, share], where="post", **mark.line())


def share_axis(axes: Axes, label: str = "share of call ends") -> None:
    """A vertical axis of shares."""
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(label)


def note(axes: Axes, x: float, text: str, y: float = 0.03) -> None:
    """A thin vertical line at `x`, labelled along it."""
    axes.axvline(x, color=GREY, linewidth=0.7, zorder=1)
    axes.annotate(
        text, (x, y), xycoords=("data", "axes fraction"), xytext=(2, 0), textcoords="offset points",
        rotation=90, fontsize=6, color="#444444", va="bottom",
    )  # fmt: skip


def legend_above(axes: Axes) -> None:
    """Put the legend in a line above the axes, where it covers no curve."""
    columns = max(1, min(3, len(axes.get_legend_handles_labels()[0])))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.0, handlelength=2.2)


def counts_text(groups: Sequence[tuple[str, int]]) -> str:
    """`Non-Tor: 5,350; Tor, 2 hops: 2,200`."""
    return "; ".join(f"{name}: {count:,}" for name, count in groups)


def box(axes: Axes, values: F64, x: float, width: float, mark: Mark) -> None:
    """A box of quartiles with whiskers at the 5th and 95th percentile; the median is white on black."""
    axes.boxplot(
        [values], positions=[x], widths=width, whis=(5, 95), showfliers=False, patch_artist=True, manage_ticks=False,
        boxprops={"facecolor": mark.colour, "hatch": mark.hatch, "linewidth": 0.6, "edgecolor": "black"},
        medianprops={"color": "white", "linewidth": 1.0, "path_effects": _OUTLINE},
        whiskerprops={"linewidth": 0.6}, capprops={"linewidth": 0.6},
    )  # fmt: skip


def line_with_points(mark: Mark) -> dict[str, Any]:
    """Keyword arguments for `Axes.plot` of a line through a few points."""
    return {
        "color": mark.colour,
        "linestyle": mark.dash,
        "marker": mark.marker,
        "markersize": 3.2,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }
