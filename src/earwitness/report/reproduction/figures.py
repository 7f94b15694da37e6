"""The study's figures, drawn from the tidy frame of the published calls or of any Earwitness data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from earwitness.archive.problems import ends_everything, reason
from earwitness.report.reproduction.drawing import FigureData, NotDrawn
from earwitness.report.reproduction.network import draw_jitter_cdf, draw_owd_box, draw_spikes, draw_throughput
from earwitness.report.reproduction.quality import (
    draw_codec_box,
    draw_hops,
    draw_pesq_cdf,
    draw_pesq_jitter,
    draw_place_cdf,
)
from earwitness.report.style import WIDTH_INCHES, paper, save


@dataclass(frozen=True)
class Drawn:
    """One figure: its files (PDF, PNG), what it shows and for how many calls."""

    name: str
    title: str
    caption: str
    files: tuple[Path, ...]
    wide: bool
    """As wide as a page, not a column."""


def draw_figures(study: FigureData, folder: Path) -> tuple[list[Drawn], list[tuple[str, str]]]:
    """Draw every figure for which the study has data into `folder`; returns them, and (title, reason) of the others.

    A figure that cannot be drawn for these data (more places than fit on a page) does not prevent the others.
    """
    drawn, not_drawn = [], []
    for name, title, draw in FIGURES:
        with paper():
            try:
                drawing, caption = draw(study)
                wide = drawing.get_figwidth() > WIDTH_INCHES["column"]
                drawn.append(Drawn(name, title, caption, tuple(save(drawing, folder / name)), wide))
            except NotDrawn as why:
                not_drawn.append((title, str(why)))
            except Exception as error:
                if ends_everything(error):
                    raise
                not_drawn.append((title, reason(error)))
    return drawn, not_drawn


FIGURES: tuple[tuple[str, str, Callable[[FigureData], tuple[Figure, str]]], ...] = (
    ("pesq-cdf", "PESQ with and without Tor", draw_pesq_cdf),
    ("codec-box", "PESQ by codec", draw_codec_box),
    ("jitter-cdf", "Mean jitter", draw_jitter_cdf),
    ("owd-box", "Half the round trip, beside Tor Metrics' latencies", draw_owd_box),
    ("place-cdf", "PESQ by place", draw_place_cdf),
    ("spikes-jitter", "Delay spikes against jitter", draw_spikes),
    ("pesq-jitter", "PESQ against jitter", draw_pesq_jitter),
    ("hops", "Three hops against two", draw_hops),
    ("throughput-cdf", "Throughput", draw_throughput),
)
"""Name of the files, title, and drawing function."""
