"""The table in the terminal: one row per call and direction, coloured by verdict, readable in 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from earwitness.archive.layout import SPEAKER
from earwitness.archive.schema import Row
from earwitness.report.style import path_label
from earwitness.report.words import (
    NOTHING,
    VERDICT_COLOURS,
    VERDICT_SYMBOLS,
    Way,
    codec_label,
    direction_label,
    number_text,
    percent_text,
    score_columns,
)

_MEASURES: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("MOS\nLQO", lambda row: number_text(row.mos_lqo, 2)),
    ("MOS\nCQE", lambda row: number_text(row.mos_cqe, 2)),
    ("ear\nms", lambda row: number_text(row.mouth_to_ear_ms)),
    ("p50\nms", lambda row: number_text(row.owd_p50_ms)),
    ("p95\nms", lambda row: number_text(row.owd_p95_ms)),
    ("jitter\nms", lambda row: number_text(row.jitter_mean_ms, 1)),
    ("lost\n%", lambda row: percent_text(row.loss_ratio).removesuffix(" %")),
    ("late\n%", lambda row: percent_text(row.late_ratio).removesuffix(" %")),
)
_LEAST_TELLING = ("p50\nms", "MOS\nCQE", "jitter\nms")


@dataclass(frozen=True)
class Pending:
    """An unfinished call: its description, and its current stage."""

    title: str
    stage: str


def table(rows: Sequence[Row], width: int = 100) -> Table:
    """Rows as a rich table; a failed call takes one row. Below 95 columns the least informative measures are
    dropped."""
    measures = [measure for measure in _MEASURES if width >= 95 or measure[0] not in _LEAST_TELLING]
    measures += [(column.heading.replace(" ", "\n", 1), column.of) for column in score_columns(rows)]
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False, expand=False)
    made.add_column("path", no_wrap=True, max_width=12 if width < 110 else 26)
    made.add_column("codec", no_wrap=True, max_width=14)
    made.add_column("speaks", no_wrap=True, max_width=14, min_width=9)
    for heading, measure in measures:
        # On a narrow terminal names are shortened, never numbers.
        longest = max([len(measure(row)) for row in rows], default=0)
        made.add_column(heading, justify="right", no_wrap=True, min_width=max(longest, *map(len, heading.split("\n"))))
    made.add_column("verdict", no_wrap=True, min_width=12)
    previous = ""
    for row in rows:
        colour = VERDICT_COLOURS.get(row.verdict, "")
        same = row.call_id == previous
        if same and row.outcome != "completed":
            continue
        previous = row.call_id
        # Conditions of the way are shown in the second row of a call, where there is room.
        took = Way.of(row)
        first = path_label(took.path, took.hops), codec_label(row.codec, short=True)
        title = (took.conditions, "") if same else first
        if row.outcome != "completed":
            made.add_row(
                *map(Text, title),
                Text(row.outcome.replace("_", " "), style=colour),
                *[NOTHING] * len(measures),
                _verdict(row),
            )
            continue
        cells = [Text(measure(row)) for _, measure in measures]
        cells[0].stylize(colour)
        speaker = row.from_place if row.direction == "to_callee" else row.to_place
        made.add_row(*map(Text, title), Text(speaker or SPEAKER[row.direction]), *cells, _verdict(row))
    return made


def report(rows: Sequence[Row], width: int = 100) -> RenderableType:
    """The table, followed by one line for every verdict below good, every failed call, and every row with a doubtful
    instrument."""
    notes: list[Text] = []
    explained = set()
    for row in rows:
        failed = row.outcome != "completed"
        doubtful = row.instrument_ok is False
        if (not failed and row.verdict in ("good", "") and not doubtful) or (failed and row.call_id in explained):
            continue
        explained.add(row.call_id)
        where = f"{Way.of(row).label} · {codec_label(row.codec)}"
        where += "" if failed else f", {direction_label(row)}"
        reason = (row.outcome_detail if failed else row.verdict_reason) or row.outcome
        if doubtful:
            why = f" ({row.instrument_detail})" if row.instrument_detail else ""
            reason = f"{reason.removesuffix('.')}; this machine's own timing was not good enough{why}"
        style = VERDICT_COLOURS.get(row.verdict, "")
        notes.append(
            Text.assemble((f"{VERDICT_SYMBOLS.get(row.verdict, '·')} ", style), (f"{where}: ", "bold"), reason)
        )
    made = table(rows, width)
    return Group(made, Text(""), *notes) if notes else made


class LiveTable:
    """A table that grows while calls run. On a stream that is not a terminal nothing is drawn until the end."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._rows: list[Row] = []
        self._pending: dict[str, Pending] = {}

    def stage(self, call: str, title: str, stage: str) -> None:
        """Set the current stage of call `call` (any key)."""
        self._pending[call] = Pending(title, stage)
        self.update()

    def finished(self, call: str, rows: Iterable[Row]) -> None:
        """Replace the progress of a finished call by its rows."""
        self._pending.pop(call, None)
        self._rows.extend(rows)
        self.update()

    @property
    def pending(self) -> tuple[str, ...]:
        """The calls that have begun but not finished."""
        return tuple(self._pending)

    def update(self) -> None:
        """Redraw."""
        parts: list[RenderableType] = [table(self._rows, self._live.console.width)] if self._rows else []
        parts += [
            Spinner("dots", Text.assemble((call.title, "bold"), "  ", (call.stage, "dim")))
            for call in self._pending.values()
        ]
        self._live.update(Group(*parts), refresh=True)


@contextmanager
def live_table(console: Console) -> Iterator[LiveTable]:
    """A live table on `console` (progress belongs on standard error), removed at the end of the block."""
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield LiveTable(live)


def _verdict(row: Row) -> Text:
    return Text(f"{VERDICT_SYMBOLS.get(row.verdict, ' ')} {row.verdict}", style=VERDICT_COLOURS.get(row.verdict, ""))
