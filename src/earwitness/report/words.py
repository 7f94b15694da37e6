"""Words and numbers for people: labels, rounding, and sentences that compare paths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from earwitness.archive.schema import Row
from earwitness.options import split
from earwitness.path.registry import DIRECT, PATHS, known_path
from earwitness.report.style import codec_style, path_label
from earwitness.score.scorers import SCORERS
from earwitness.speech.codecs.registry import CODECS

NOTHING = "–"
"""Shown for a value that was not measured."""


VERDICT_SYMBOLS = {"good": "●", "acceptable": "◐", "poor": "◔", "bad": "○", "failed": "✕"}
"""More filled means better, so a verdict can be read without its colour."""

VERDICT_COLOURS = {"good": "green", "acceptable": "cyan", "poor": "yellow", "bad": "red", "failed": "bold red"}
"""For the terminal."""


def number_text(value: float | int | None, digits: int = 0) -> str:
    """The value with `digits` decimals and thin spaces between thousands; a dash if it was not measured."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return text.replace("-", "−") if float(f"{value:.{digits}f}") else f"{0:.{digits}f}"


def percent_text(ratio: float | None) -> str:
    """A ratio as a percentage; a small one is not rounded to zero."""
    if ratio is None or not math.isfinite(ratio):
        return NOTHING
    if 0 < ratio < 0.0005:
        return "<0.1 %"
    return f"{number_text(100 * ratio, 1 if ratio < 0.0995 else 0)} %"


@dataclass(frozen=True)
class Way:
    """How the packets of calls travelled; rows are grouped by it."""

    path: str
    hops: int | None
    """Relays; None if the path has none."""
    conditions: str = ""
    """Other conditions on the way, in words: see `earwitness.archive.schema.conditions`."""

    @classmethod
    def of(cls, row: Row) -> Way:
        """The way of a call."""
        kind = known_path(row.path)
        return cls(row.path, None if kind is not None and kind.tor is None else row.hops, row.conditions)

    @property
    def label(self) -> str:
        """For people: `Tor, 3 hops`, `Tor, 3 hops, load web:4`."""
        return ", ".join(filter(None, (path_label(self.path, self.hops), self.conditions)))


_DIRECT = Way(DIRECT.name, None)


def codec_label(codec: str, short: bool = False) -> str:
    """`Opus 24 kbit/s` for `opus:24000` (`Opus 24 kb/s` if `short`); other options are unchanged."""
    name, _, options = codec.partition(":")
    label = codec_style(name).label
    first, _, rest = options.partition(",")
    kind = CODECS.find(name)
    sets = next((option.name for option in kind.options if option.bare), "") if kind is not None else "bitrate"
    if first and sets in ("bitrate", "kbps") and "=" not in first:
        label += f" {float(first) / (1000 if sets == 'bitrate' else 1):g} {'kb/s' if short else 'kbit/s'}"
    elif first:
        label += f" {first}"
    return f"{label} {rest}".strip() if rest else label


@dataclass(frozen=True)
class ScoreColumn:
    """A column with an additional scorer's figures."""

    name: str
    heading: str
    says: str
    digits: int

    def of(self, row: Row) -> str:
        """The figure of a row, for people."""
        return number_text(row.scores.get(self.name), self.digits)


def score_columns(rows: Iterable[Row]) -> list[ScoreColumn]:
    """A column for each scorer with a figure in these rows, in order of name."""
    made = []
    for name in sorted({name for row in rows for name in row.scores}):
        kind = SCORERS.find(name)
        if kind is None:
            made.append(ScoreColumn(name, name, f"figure of the scorer {name}, which is not installed here", 2))
        else:
            made.append(ScoreColumn(name, kind.heading, f"{kind.summary} ({kind.unit})", kind.digits))
    return made


def direction_label(row: Row) -> str:
    """Who speaks to whom, by city if known."""
    caller, callee = row.from_place or "caller", row.to_place or "callee"
    if caller == callee:
        caller, callee = f"{caller} (caller)", f"{callee} (callee)"
    return f"{caller} → {callee}" if row.direction == "to_callee" else f"{callee} → {caller}"


def quality_words(mos: float) -> str:
    """A description of a listening score, in the steps of the P.800 scale."""
    if mos >= 4.0:
        return "clear speech"
    if mos >= 3.0:
        return "easy to follow, with flaws that one hears"
    if mos >= 2.0:
        return "an effort to follow"
    return "broken up"


def delay_words(mouth_to_ear_ms: float) -> str:
    """The effect of a mouth-to-ear delay on conversation, after ITU-T G.114 (150 ms recommended, 400 ms the limit)."""
    if mouth_to_ear_ms <= 150:
        return "hardly noticed"
    if mouth_to_ear_ms <= 400:
        return "noticed, but people can talk"
    return "too long to talk well"


@dataclass(frozen=True)
class Group:
    """All rows of one way."""

    way: Way
    rows: tuple[Row, ...]

    @property
    def completed(self) -> tuple[Row, ...]:
        """Rows of completed calls."""
        return tuple(row for row in self.rows if row.outcome == "completed")

    @property
    def calls(self) -> int:
        """The number of calls."""
        return len({row.call_id for row in self.rows})

    @property
    def calls_completed(self) -> int:
        """The number of completed calls."""
        return len({row.call_id for row in self.completed})

    @property
    def doubtful(self) -> int:
        """The number of completed directions with instrument timing too poor to trust the measurements."""
        return sum(row.instrument_ok is False for row in self.completed)

    def middle(self, column: str) -> float | None:
        """The median of a column, or of a scorer's figure by its name, over the measured values."""
        values = [value for row in self.completed if (value := row.figure(column)) is not None]
        return float(median(values)) if values else None

    def mean(self, column: str) -> float | None:
        """The mean of a column over the measured values."""
        values = [value for row in self.completed if (value := getattr(row, column)) is not None]
        return float(sum(values) / len(values)) if values else None

    def verdicts(self) -> list[tuple[str, int]]:
        """The number of directions with each verdict, best first."""
        words = [row.verdict for row in self.completed]
        return [(word, words.count(word)) for word in VERDICT_SYMBOLS if word in words]

    def by_codec(self) -> list[tuple[str, float]]:
        """Median MOS-LQO by codec, in order of name."""
        codecs = sorted({row.codec for row in self.completed})
        found = [(codec, Group(self.way, tuple(row for row in self.rows if row.codec == codec))) for codec in codecs]
        return [(codec, mos) for codec, group in found if (mos := group.middle("mos_lqo")) is not None]


def groups(rows: Iterable[Row]) -> list[Group]:
    """Rows grouped by way: direct first, then the others by number of hops; each path without special conditions first,
    then by increasing load."""
    by_way: dict[Way, list[Row]] = {}
    for row in rows:
        by_way.setdefault(Way.of(row), []).append(row)
    rank = {name: i for i, name in enumerate(PATHS.names())}
    found = [Group(way, tuple(members)) for way, members in by_way.items()]
    return sorted(
        found,
        key=lambda group: (
            rank.get(split(group.way.path)[0], len(rank)),
            group.way.path,
            group.way.hops or 0,
            group.way.conditions != "",
            group.mean("load_mbit_s") or 0.0,
            group.way.conditions,
        ),
    )


def summary(found: Sequence[Group]) -> list[tuple[str, str]]:
    """The name of each way with a sentence or two. Other paths are compared with the plain direct one, if there is one,
    over the same codecs."""
    direct = next((group.rows for group in found if group.way == _DIRECT), ())
    sentences = []
    for group in found:
        codecs = {row.codec for row in group.completed} if group.way.path != DIRECT.name else set()
        sentences.append((_name(group.way), _says(group, [row for row in direct if row.codec in codecs])))
    return sentences


def _name(way: Way) -> str:
    kind = known_path(way.path)
    name = kind.opening(way.hops) if kind else f"Over {way.path}"
    return ", ".join(filter(None, (name, way.path.partition(":")[2], way.conditions)))


def _says(group: Group, direct: Sequence[Row]) -> str:
    base = Group(_DIRECT, tuple(direct))
    if not group.completed:
        return "the call failed." if group.calls == 1 else f"none of {group.calls} calls completed."
    mos, delay = group.middle("mos_lqo"), group.middle("mouth_to_ear_ms")
    if mos is None:
        parts = ["the speech was not scored."]
    else:
        was = base.middle("mos_lqo")
        against = f", against {number_text(was, 2)} without Tor" if was is not None else ""
        parts = [f"{quality_words(mos)} (MOS-LQO {number_text(mos, 2)}{against})."]
    if delay is not None:
        was = base.middle("mouth_to_ear_ms")
        than = f", {number_text(delay - was)} ms longer than without Tor" if was is not None and delay > was else ""
        parts.append(f"A word took {number_text(delay)} ms from mouth to ear{than}: {delay_words(delay)}.")
    lost, late = group.mean("loss_ratio"), group.mean("late_ratio")
    if lost is not None and late is not None:
        parts.append(_losses(lost, late))
    if group.doubtful:
        rows = len(group.completed)
        parts.append(f"In {group.doubtful} of {rows} directions this machine's own timing was not good enough.")
    if group.calls_completed < group.calls:
        parts.append(f"{group.calls - group.calls_completed} of {group.calls} calls failed.")
    return " ".join(parts)


def _losses(lost: float, late: float) -> str:
    if not lost and not late:
        return "No packet was lost or came too late."
    if not lost:
        return f"No packet was lost, but {percent_text(late)} came too late to be played."
    if not late:
        return f"{percent_text(lost)} of the packets were lost; none came too late."
    return f"{percent_text(lost)} of the packets were lost, {percent_text(late)} came too late to be played."
