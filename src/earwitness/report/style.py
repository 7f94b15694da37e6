"""The style of figures for paper: a column wide, legible in grey and to colour-blind readers, with reproducible bytes.

Draw inside `with paper():` (or decorate the drawing function with `@paper()`), then `figure()`, `save()`:

    with paper():
        drawing, axes = figure()
        axes.plot(x, y, **path_style("tor", 3).line())
        save(drawing, folder / "delay-cdf")
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from earwitness.ear.buffers import BUFFERS
from earwitness.files import replacing
from earwitness.looks import Colour, Dash, Hatch, Look, Marker
from earwitness.path.registry import known_path
from earwitness.printable import visible
from earwitness.speech.codecs.registry import CODECS

if TYPE_CHECKING:  # words and marks are used without drawing, and importing matplotlib takes long
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Width = Literal["column", "page"]

WIDTH_INCHES: dict[str, float] = {"column": 3.3, "page": 7.0}
"""Text widths of a two-column conference paper, inches."""

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so every machine draws the same
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,  # long enough to distinguish a dash-dot from a dash
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "hatch.linewidth": 0.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType, embedded and selectable; submission systems refuse type 3
    "ps.fonttype": 42,
    "svg.hashsalt": "earwitness",
}


def without_formulas(text: str) -> str:
    """A text for a figure in which `$` is literal and starts no formula: names are data."""
    return text.replace("$", r"\$")


@dataclass(frozen=True)
class Mark:
    """How a series is distinguished: by colour, and without colour by dash, marker and hatch."""

    label: str
    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str
    hatch: str

    def line(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`, `step` and `ecdf`."""
        return {"label": without_formulas(self.label), "color": self.colour, "linestyle": self.dash}

    def points(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot` or `scatter` of single points."""
        return {"label": without_formulas(self.label), "color": self.colour, "marker": self.marker, "linestyle": "none"}

    def bar(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.bar` and box patches."""
        return {
            "label": without_formulas(self.label),
            "facecolor": self.colour,
            "edgecolor": "black",
            "hatch": self.hatch,
        }


# Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), safe for the three common colour-vision deficiencies.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, BLACK, GREY = "#E69F00", "#56B4E9", "#F0E442", "#000000", "#7F7F7F"

COLOURS: dict[Colour, str] = {
    "blue": BLUE,
    "vermilion": VERMILION,
    "green": GREEN,
    "purple": PURPLE,
    "orange": ORANGE,
    "sky": SKY,
    "yellow": YELLOW,
    "black": BLACK,
    "grey": GREY,
}
DASHES: dict[Dash, str | tuple[float, tuple[float, ...]]] = {
    "solid": "-",
    "dashed": (0, (4, 1.5)),
    "dotted": (0, (1, 1)),
    "dash-dot": (0, (4, 1.5, 1, 1.5)),
    "long": (0, (7, 1.5)),
    "dash-dot-dot": (0, (4, 1.5, 1, 1.5, 1, 1.5)),
    "long-dot": (0, (7, 1.5, 1, 1.5)),
}
MARKERS: dict[Marker, str] = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "wedge": "v",
    "plus": "P",
    "cross": "X",
    "none": "None",
}
HATCHES: dict[Hatch, str] = {
    "none": "",
    "slashes": "////",
    "dots": "....",
    "crosses": "xxxx",
    "backslashes": "\\\\\\\\",
    "grid": "++++",
    "bars": "||||",
}

_SPARE_DASHES = tuple(DASHES.values())[:6]
_SPARE_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
_SPARE_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SPARE_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "||||")


def series_style(index: int, label: str) -> Mark:
    """A mark for the `index`-th of other series (places, buffers ...); the seven marks repeat after 42."""
    pick = index % len(_SPARE_COLOURS)
    dash = _SPARE_DASHES[index % len(_SPARE_DASHES)]
    return Mark(label, _SPARE_COLOURS[pick], dash, _SPARE_MARKERS[pick], _SPARE_HATCHES[pick])


def mark_of(look: Look) -> Mark:
    """The mark for a kind's look."""
    return Mark(look.label, COLOURS[look.colour], DASHES[look.dash], MARKERS[look.marker], HATCHES[look.hatch])


def path_style(path: str, hops: int | None = None) -> Mark:
    """The mark of a path; a Tor circuit without 3 hops has a separate one. Unknown paths get a stable spare mark."""
    kind = known_path(path)
    if kind is None:
        return series_style(sum(path.encode()), path)
    look = kind.look_with(hops)
    if look is None:
        return series_style(4 + int(hops or 0), path_label(path, hops))
    return replace(mark_of(look), label=path_label(path, hops))


def path_label(path: str, hops: int | None) -> str:
    """`Tor, 3 hops`, `direct`; a path's own options are unchanged. An unknown path is shown as is."""
    kind = known_path(path)
    return " ".join(filter(None, (kind.label(hops), path.partition(":")[2]))) if kind else path


def codec_style(codec: str) -> Mark:
    """The mark of a codec by name, ignoring its options (`opus:24000` is opus)."""
    name = codec.split(":", 1)[0]
    kind = CODECS.find(name)
    return mark_of(kind.look) if kind else series_style(sum(name.encode()), name)


def buffer_style(name: str, position: int = 0) -> Mark:
    """The mark of a kind of jitter buffer; for an unknown one that of the `position`-th of other series."""
    kind = BUFFERS.find(name)
    return mark_of(kind.look) if kind else series_style(position, name)


@contextmanager
def paper() -> Iterator[None]:
    """The settings of every figure while drawing and saving; also a decorator."""
    import matplotlib

    # fontTools logs every table that it drops from the embedded subset.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change a figure
        matplotlib.rcParams.update(cast("Any", SETTINGS))
        yield


def new_figure(width: Width = "column", height: float | None = None) -> tuple[Figure, Axes]:
    """An empty figure of a paper's column or page width, with one set of axes.

    `height` in inches; the default is the golden section of the width (page figures: a third of it).
    """
    drawing = canvas(width, height)
    return drawing, drawing.add_subplot()


def panels(rows: int, columns: int, width: Width = "page", height: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` axes, row by row."""
    drawing = canvas(width, height)
    return drawing, list(drawing.subplots(rows, columns, squeeze=False).flat)


def canvas(width: Width = "column", height: float | None = None) -> Figure:
    """An empty figure without axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inches = WIDTH_INCHES[width]
    with paper():
        drawing = Figure(figsize=(inches, height or inches * (0.618 if width == "column" else 0.36)))
        FigureCanvasAgg(drawing)
    return drawing


def save(drawing: Figure, stem: Path | str) -> list[Path]:
    """Write `stem`.pdf and `stem`.png (300 dpi) and return both paths; the same drawing gives the same bytes."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    pdf, png = stem.with_name(stem.name + ".pdf"), stem.with_name(stem.name + ".png")
    with paper():
        _as_it_stands(drawing)
        _write(drawing, pdf, {"CreationDate": None, "Creator": None, "Producer": "earwitness"})
        _write(drawing, png, {"Software": None})
    return [pdf, png]


def _write(drawing: Figure, path: Path, about: dict[str, str | None]) -> None:
    """Drawn in memory first, because matplotlib keeps a PDF open if the disk is full."""
    drawn = io.BytesIO()
    drawing.savefig(drawn, format=path.suffix[1:], metadata=cast("dict[str, str]", about))
    with replacing(path) as draft:
        draft.write_bytes(drawn.getvalue())


def _as_it_stands(drawing: Figure) -> None:
    """Draw the names of a data set literally: matplotlib would typeset text between two `$` as a formula."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    ticks = set()
    for axes in drawing.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # Tick labels are created again during drawing; those of a logarithmic axis are matplotlib's formulas.
            ticks |= {
                id(label) for tick in (*axis.majorTicks, *axis.minorTicks) for label in (tick.label1, tick.label2)
            }
            names = axis.get_major_formatter()
            if isinstance(names, FixedFormatter | FuncFormatter | StrCategoryFormatter):
                axis.set_major_formatter(FuncFormatter(partial(_tick, names)))
    for text in drawing.findobj(Text):
        if isinstance(text, Text) and id(text) not in ticks:
            text.set_text(_without_formula(text.get_text()))


def _tick(names: Callable[[float, int | None], str], value: float, position: int | None) -> str:
    return _without_formula(names(value, position))


def _without_formula(text: str) -> str:
    return visible(re.sub(r"(?<!\\)\$", r"\\$", text))
