"""Plots as values for the page's template: every number is already a position, every text is plain.

A plot is as wide as the page permits. Its data lie in a stretched box of `UNITS` x `height * 10` units; its texts are
placed outside the box at percentages of the width, so that they are not stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64

UNITS = 4000
"""Width of every plot's data box."""
TENTHS = 10
"""Units per pixel of height."""


@dataclass(frozen=True)
class Axis:
    """A range of values along one side of a plot."""

    low: float
    high: float

    def share(self, values: F64) -> F64:
        """Positions of the values, 0 at `low`, 1 at `high`, limited to slightly outside."""
        return np.clip((values - self.low) / ((self.high - self.low) or 1.0), -0.05, 1.05)

    def ticks(self, about: int = 6) -> list[float]:
        """About this many round values within the range."""
        step = _round_step((self.high - self.low) / max(1, about))
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Tick:
    """A label next to an axis: `at` is a percentage of the width, or pixels from the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Series:
    """One drawn element: an SVG path in the data box, and the CSS class for its colour."""

    style: str
    path: str
    dash: str = ""


@dataclass(frozen=True)
class Plot:
    """A complete plot; `says` is its text alternative."""

    says: str
    height: int
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    name: str = ""
    """Shown in the left margin if there are no tick labels."""
    heading: str = ""
    """Shown above the data, within the plot."""
    x_lines: tuple[float, ...] = ()
    """Vertical rules at these percentages, for plots that share their axis with one below."""
    texts: tuple[tuple[Tick, float], ...] = field(default=())
    """Labels within the plot, each with its height in pixels from the top."""


def x_ticks(axis: Axis, unit: str = "", about: int = 8) -> tuple[Tick, ...]:
    """Ticks along the bottom; the first one has the unit."""
    values = axis.ticks(about)
    labels = [f"{value:g}".replace("-", "−") for value in values]
    if labels and unit:
        labels[0] += f" {unit}"
    shares = axis.share(np.asarray(values, dtype=np.float64)) * 100
    return tuple(Tick(round(float(at), 2), label) for at, label in zip(shares, labels, strict=True))


def y_ticks(axis: Axis, height: int, about: int = 3, suffix: str = "") -> tuple[Tick, ...]:
    """Ticks along the left side."""
    values = axis.ticks(about)
    shares = (1 - axis.share(np.asarray(values, dtype=np.float64))) * height
    return tuple(Tick(round(float(at), 1), f"{value:g}{suffix}") for at, value in zip(shares, values, strict=True))


def line(x: F64, y: F64, x_axis: Axis, y_axis: Axis, height: int) -> str:
    """A line through the points, interrupted where y is NaN."""
    across, down = _positions(x, y, x_axis, y_axis, height)
    parts, pen = [], (0, 0)
    down_now = False
    for column, row, known in zip(across.tolist(), down.tolist(), np.isfinite(y).tolist(), strict=True):
        if not known:
            down_now = False
        elif down_now:
            if (column, row) != pen:
                parts.append(f"l{column - pen[0]} {row - pen[1]}")
                pen = (column, row)
        else:
            parts.append(f"M{column} {row}")
            pen, down_now = (column, row), True
    return _terse(parts)


def dots(x: F64, y: F64, x_axis: Axis, y_axis: Axis, height: int) -> str:
    """One dot per point (drawn by round line ends); coinciding points are drawn once."""
    across, down = _positions(x, y, x_axis, y_axis, height)
    places = dict.fromkeys(zip(across.tolist(), down.tolist(), strict=True))
    return "".join(f"M{column} {row}h0" for column, row in places)


def rug(x: F64, x_axis: Axis, pixels: int = 8) -> str:
    """A short vertical stroke at the top edge for each x."""
    across = np.rint(x_axis.share(x) * UNITS).astype(int)
    return "".join(f"M{column} 0v{pixels * TENTHS}" for column in dict.fromkeys(across.tolist()))


def bars(begins: F64, ends: F64, x_axis: Axis, height: int, least: int = 6) -> str:
    """Vertical bars over spans of x, as high as the plot, at least `least` units wide; touching bars are merged."""
    left = np.rint(x_axis.share(begins) * UNITS).astype(int)
    right = np.maximum(np.rint(x_axis.share(ends) * UNITS).astype(int), left + least)
    spans: list[list[int]] = []
    for begin, end in sorted(zip(left.tolist(), right.tolist(), strict=True)):
        if end < 0 or begin > UNITS:
            continue
        if spans and begin <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([begin, end])
    tall = height * TENTHS
    return "".join(f"M{begin} 0h{end - begin}v{tall}h-{end - begin}z" for begin, end in spans)


def envelope(
    begins_at: float, sound: NDArray[np.int16], rate: int, x_axis: Axis, height: int, columns: int = 760
) -> str:
    """The outline of a waveform: highest and lowest sample in each of `columns` columns of the plot.

    `begins_at`: position of the first sample on the axis (seconds). Full height is a third of the int16 range, because
    speech at the usual level would otherwise look flat; louder samples are clipped.
    """
    edges = np.linspace(x_axis.low, x_axis.high, columns + 1)
    at = np.clip(np.rint((edges - begins_at) * rate).astype(np.int64), 0, len(sound))
    used = np.flatnonzero(np.diff(at) > 0)
    if not len(used):
        return ""
    cuts = at[used]
    ends = int(at[used[-1] + 1])
    top = np.maximum.reduceat(sound[:ends], cuts).astype(np.float64)
    bottom = np.minimum.reduceat(sound[:ends], cuts).astype(np.float64)
    middle, loudest = height * TENTHS / 2, 32768 / 2.2
    high = np.rint(middle - np.clip(top / loudest, -1, 1) * (middle - 2)).astype(int)
    low = np.rint(middle - np.clip(bottom / loudest, -1, 1) * (middle - 2)).astype(int)
    low = np.maximum(low, high + 2)
    across = np.rint((used + 0.5) * (UNITS / columns)).astype(int)
    outline = [*zip(across.tolist(), high.tolist(), strict=True)]
    outline += [*zip(across[::-1].tolist(), low[::-1].tolist(), strict=True)]
    parts, pen = [f"M{outline[0][0]} {outline[0][1]}"], outline[0]
    for column, row in outline[1:]:
        parts.append(f"l{column - pen[0]} {row - pen[1]}")
        pen = (column, row)
    return _terse(parts) + "z"


def thin(x: F64, y: F64, most: int = 2400) -> tuple[F64, F64]:
    """At most about `most` points that look the same: the lowest and the highest of each stretch."""
    n = len(x)
    if n <= most:
        return x, y
    starts = np.linspace(0, n, most // 2 + 1).astype(int)[:-1]
    keep = []
    for begin, end in zip(starts, [*starts[1:], n], strict=True):
        part = y[begin:end]
        keep += sorted({begin + int(np.argmin(part)), begin + int(np.argmax(part))})
    return x[keep], y[keep]


def _positions(x: F64, y: F64, x_axis: Axis, y_axis: Axis, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    across = np.rint(x_axis.share(x) * UNITS)
    down = np.rint((1 - y_axis.share(np.nan_to_num(y))) * height * TENTHS)
    return across.astype(np.int64), down.astype(np.int64)


def _round_step(step: float) -> float:
    if step <= 0 or not math.isfinite(step):
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def _terse(parts: Sequence[str]) -> str:
    """Path commands without what SVG does not need."""
    return "".join(parts).replace(" -", "-")
