"""The two charts that compare paths: the distribution of their packet delays, and how their calls sounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.archive.stored import StoredCall
from earwitness.arrays import F64
from earwitness.errors import InputError
from earwitness.looks import Colour, Dash, Look
from earwitness.path.registry import known_path
from earwitness.report.plot import Axis, Plot, Series, Tick, dots, line, x_ticks
from earwitness.report.tracks import delays_if_known_ms
from earwitness.report.words import Group, Way, codec_label, number_text, percent_text

CDF_HEIGHT = 230
ROW_HEIGHT = 44
MOST_DOTS = 300

_COLOURS: tuple[Colour, ...] = ("blue", "vermilion", "green", "purple", "orange", "black", "sky", "grey")
"""Colours of the page's classes `p0` ... `p7`."""
_DASHES: dict[Dash, str] = {
    "solid": "",
    "dashed": "9 4",
    "dash-dot": "9 4 2 4",
    "dotted": "2 3",
    "long": "14 4",
    "dash-dot-dot": "9 4 2 4 2 4",
    "long-dot": "14 4 2 4",
}
DASHES = (*_DASHES.values(), "4 3")


@dataclass(frozen=True)
class Key:
    """A line of a legend."""

    style: str
    dash: str
    label: str
    details: str


@dataclass(frozen=True)
class Distribution:
    """Delays of all packets on one way: those that arrived (n,) ms, and the number lost."""

    way: Way
    delay_ms: F64
    lost: int


def path_class(way: Way) -> str:
    """The CSS class of a path's colour, regardless of conditions: `p0` ... `p7`."""
    look = _look(way)
    if look is not None and look.colour in _COLOURS:
        return f"p{_COLOURS.index(look.colour)}"
    return f"p{6 + _spare(way)}"


def delay_cdf(spreads: Sequence[Distribution]) -> tuple[Plot, tuple[Key, ...]] | None:
    """Cumulative distribution of one-way delay by way; a curve ends below 100 % by the share lost.

    Each path has a colour and a dash. If one was measured under several conditions, dashes distinguish all lines.
    """
    drawn = [spread for spread in spreads if len(spread.delay_ms)]
    if not drawn:
        return None
    longest = max(float(np.quantile(spread.delay_ms, 0.995)) for spread in drawn)
    x_axis, y_axis = Axis(0.0, longest * 1.04), Axis(0.0, 1.0)
    dashes = [_dash(spread.way) for spread in drawn]
    if len(set(dashes)) < len(dashes):
        dashes = [DASHES[place % len(DASHES)] for place in range(len(drawn))]
    series, keys = [], []
    for spread, dash in zip(drawn, dashes, strict=True):
        n = len(spread.delay_ms)
        arrived = n / (n + spread.lost)
        shares = np.linspace(0, 1, min(n, 240))
        x = np.quantile(spread.delay_ms, shares)
        x, y = np.append(x, max(longest * 1.04, x[-1])), np.append(shares, 1.0) * arrived
        style = path_class(spread.way)
        series.append(Series(f"cdf {style}", line(x, y, x_axis, y_axis, CDF_HEIGHT), dash))
        p50, p95 = (number_text(float(value)) for value in np.quantile(spread.delay_ms, [0.5, 0.95]))
        details = f"half within {p50} ms, 95 % within {p95} ms"
        if spread.lost:
            details += f", {percent_text(1 - arrived)} lost"
        keys.append(Key(style, dash, spread.way.label, details))
    says = "Cumulative distribution of one-way delay by path. " + "; ".join(
        f"{key.label}: {key.details}" for key in keys
    )
    plot = Plot(
        says,
        CDF_HEIGHT,
        tuple(series),
        x_ticks(x_axis, "ms", 6),
        tuple(Tick((1 - share / 100) * CDF_HEIGHT, f"{share} %") for share in (0, 25, 50, 75, 100)),
    )
    return plot, tuple(keys)


def mos_chart(groups: Iterable[Group]) -> tuple[Plot, int] | None:
    """MOS-LQO of every direction, one line per way and codec, and the number of dots dropped to keep it legible."""
    lines: list[tuple[str, str, F64]] = []
    for group in groups:
        for codec in sorted({row.codec for row in group.completed}):
            scores = [row.mos_lqo for row in group.completed if row.codec == codec and row.mos_lqo is not None]
            if scores:
                label = f"{group.way.label} · {codec_label(codec)}"
                lines.append((path_class(group.way), label, np.sort(np.asarray(scores))))
    if not lines:
        return None
    axis, left_out = Axis(1.0, 5.0), 0
    height = ROW_HEIGHT * len(lines)
    series, texts = [], []
    for i, (style, label, values) in enumerate(lines):
        middle = ROW_HEIGHT * i + 27
        down = Axis(float(height), 0.0)  # pixels from the top
        shown = values[np.unique(np.linspace(0, len(values) - 1, MOST_DOTS).astype(int))]
        left_out += len(values) - len(shown)
        path = dots(shown, np.full(len(shown), float(middle)), axis, down, height)
        rule = line(np.array([1.0, 5.0]), np.full(2, float(middle)), axis, down, height)
        half = float(np.median(values))
        tick = line(np.array([half, half]), np.array([middle - 8.0, middle + 8.0]), axis, down, height)
        series += [
            Series("rule", rule),
            Series(f"mos {style}", path),
            Series(f"median {style}", tick),
        ]
        texts.append((Tick(0.0, f"{label}: {number_text(half, 2)}"), float(ROW_HEIGHT * i + 13)))
    says = "MOS-LQO by path and codec, medians: " + "; ".join(tick.label for tick, _ in texts)
    words = ((1, "1 bad"), (2, "2 poor"), (3, "3 fair"), (4, "4 good"), (5, "5"))
    ticks = tuple(Tick((value - 1) * 25.0, label) for value, label in words)
    return Plot(says, height, tuple(series), ticks, texts=tuple(texts)), left_out


def pooled(delays: Mapping[Way, Sequence[tuple[F64, int]]]) -> list[Distribution]:
    """Delays and losses of many directions, pooled by way."""
    return [
        Distribution(way, np.concatenate([delay for delay, _ in parts]), sum(lost for _, lost in parts))
        for way, parts in delays.items()
    ]


def one_direction(call: StoredCall, direction: str) -> tuple[F64, int] | None:
    """Delays of the arrived packets, ms, and the number lost; None if there is no trace on one clock."""
    try:
        trace = call.trace(direction)
    except InputError:
        return None
    delays = delays_if_known_ms(trace)
    return (delays, int((~trace.arrived).sum())) if len(delays) else None


def _look(way: Way) -> Look | None:
    kind = known_path(way.path)
    return kind.look_with(way.hops) if kind else None


def _dash(way: Way) -> str:
    look = _look(way)
    return _DASHES[look.dash] if look else ("4 3", "14 4 2 4")[_spare(way)]


def _spare(way: Way) -> int:
    """0 or 1: always the same for a way without a look of its own."""
    return (sum(way.path.encode()) + (way.hops or 0)) % 2
