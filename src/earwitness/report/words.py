"""Plain words and numbers for people: labels, rounding, and sentences that compare paths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from earwitness.archive.schema import Row
from earwitness.report.style import codec_style, path_style

NOTHING = "–"
"""Stands for a value that was not measured."""

DIRECTION_ARROWS = {"to_callee": "→", "to_caller": "←"}

VERDICT_SYMBOLS = {"good": "●", "acceptable": "◐", "poor": "◔", "bad": "○", "failed": "✕"}
"""Fuller is better, so that a verdict reads without its colour."""

VERDICT_COLOURS = {"good": "green", "acceptable": "cyan", "poor": "yellow", "bad": "red", "failed": "bold red"}
"""For the terminal."""


def number(value: float | int | None, digits: int = 0) -> str:
    """The value with so many decimals, thin spaces between thousands; a dash where it was not measured."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return text.replace("-", "−") if float(f"{value:.{digits}f}") else f"{0:.{digits}f}"


def percent(ratio: float | None) -> str:
    """A ratio as a percentage; a tiny one is not rounded to nothing."""
    if ratio is None or not math.isfinite(ratio):
        return NOTHING
    if 0 < ratio < 0.0005:
        return "<0.1 %"
    return f"{number(100 * ratio, 1 if ratio < 0.0995 else 0)} %"


def path_label(path: str, hops: int | None) -> str:
    """`Tor, 3 hops`, `direct`."""
    if path == "tor" and hops is None:
        return "Tor"
    return path_style(path, hops).label


def codec_label(codec: str, short: bool = False) -> str:
    """`Opus 24 kbit/s` for `opus:24000` (`Opus 24 kb/s` if `short`); other options stay as they were asked."""
    name, _, options = codec.partition(":")
    label = codec_style(name).label
    first, _, rest = options.partition(",")
    if first.isdigit():
        label += f" {int(first) / 1000:g} {'kb/s' if short else 'kbit/s'}"
    elif first:
        label += f" {first}"
    return f"{label} {rest}".strip() if rest else label


def direction_label(row: Row) -> str:
    """Who speaks to whom, by city where known."""
    caller, callee = row.from_place or "caller", row.to_place or "callee"
    if caller == callee:
        caller, callee = f"{caller} (caller)", f"{callee} (callee)"
    return f"{caller} → {callee}" if row.direction == "to_callee" else f"{callee} → {caller}"


def quality_words(mos: float) -> str:
    """What a listening score sounds like; the steps are those of the P.800 scale."""
    if mos >= 4.0:
        return "clear speech"
    if mos >= 3.0:
        return "easy to follow, with flaws that one hears"
    if mos >= 2.0:
        return "an effort to follow"
    return "broken up"


def delay_words(mouth_to_ear_ms: float) -> str:
    """What a mouth-to-ear delay means for talking, after ITU-T G.114."""
    if mouth_to_ear_ms <= 150:
        return "within the 150 ms that ITU-T G.114 recommends"
    if mouth_to_ear_ms <= 400:
        return "above the 150 ms that ITU-T G.114 recommends, below its limit of 400 ms"
    return "beyond the 400 ms that ITU-T G.114 gives as the limit: the two will talk over each other"


@dataclass(frozen=True)
class Group:
    """All rows of one path (and number of hops)."""

    path: str
    hops: int | None
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        """For a person."""
        return path_label(self.path, self.hops)

    @property
    def completed(self) -> tuple[Row, ...]:
        """Rows of calls that ended well."""
        return tuple(row for row in self.rows if row.outcome == "completed")

    @property
    def calls(self) -> int:
        """How many calls."""
        return len({row.call_id for row in self.rows})

    @property
    def calls_completed(self) -> int:
        """How many of them ended well."""
        return len({row.call_id for row in self.completed})

    def middle(self, column: str) -> float | None:
        """The median of a column over what was measured."""
        values = [value for row in self.completed if (value := getattr(row, column)) is not None]
        return float(median(values)) if values else None

    def by_codec(self) -> list[tuple[str, float]]:
        """Median MOS-LQO by codec, in order of name."""
        codecs = sorted({row.codec for row in self.completed})
        found = [
            (codec, Group(self.path, self.hops, tuple(r for r in self.rows if r.codec == codec))) for codec in codecs
        ]
        return [(codec, mos) for codec, group in found if (mos := group.middle("mos_lqo")) is not None]


_ORDER = ("direct", "vpn", "tor", "vpn-tor", "onion")


def groups(rows: Iterable[Row]) -> list[Group]:
    """Rows by path and hops: direct first, then the rest with fewer hops first."""
    by_key: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        over_tor = row.path not in ("direct", "vpn")
        by_key.setdefault((row.path, row.hops if over_tor else None), []).append(row)
    rank = {name: i for i, name in enumerate(_ORDER)}
    keys = sorted(by_key, key=lambda key: (rank.get(key[0], len(rank)), key[0], key[1] or 0))
    return [Group(path, hops, tuple(by_key[path, hops])) for path, hops in keys]


def summary(found: Sequence[Group]) -> list[str]:
    """One or two sentences a path, the others compared with the first, which has no Tor where there is one."""
    sentences = []
    base = next((group for group in found if group.path == "direct"), None)
    for group in found:
        sentence = _group_sentence(group, base)
        if sentence:
            sentences.append(sentence)
    return sentences


def _group_sentence(group: Group, base: Group | None) -> str:
    name = {"direct": "Without Tor", "vpn": "Through the VPN"}.get(group.path, f"Over {group.label}")
    name = name.replace("Tor, ", "Tor with ") if group.path == "tor" else name
    if not group.completed:
        many = f"none of {group.calls} calls" if group.calls > 1 else "the call was not"
        return f"{name}, {many} completed."
    mos, delay = group.middle("mos_lqo"), group.middle("mouth_to_ear_ms")
    parts = []
    if mos is not None:
        parts.append(f"{name}, speech arrived at MOS-LQO {number(mos, 2)}: {quality_words(mos)}.")
    else:
        parts.append(f"{name}, speech was not scored.")
    if delay is not None:
        reference = base.middle("mouth_to_ear_ms") if base is not None and base is not group else None
        than = f" ({number(delay - reference)} ms more than without Tor)" if reference and delay > reference else ""
        parts.append(f"A word took {number(delay)} ms from mouth to ear{than}, {delay_words(delay)}.")
    lost, late = group.middle("loss_ratio"), group.middle("late_ratio")
    if lost is not None and late is not None:
        if lost < 0.0005 and late < 0.0005:
            parts.append("Nothing was lost and nothing came too late.")
        else:
            parts.append(f"{percent(lost)} of the packets never came, {percent(late)} came too late to be played.")
    if group.calls_completed < group.calls:
        parts.append(f"{group.calls - group.calls_completed} of {group.calls} calls failed.")
    return " ".join(parts)
