"""The contents of the page as plain values; the template only arranges them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from earwitness.archive.dataset import Dataset
from earwitness.archive.problems import Problem, apart
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.archive.stored import StoredCall
from earwitness.arrays import F64
from earwitness.events import Listener, StageReached, ignore
from earwitness.report.overview import Key, delay_cdf, mos_chart, one_direction, path_class, pooled
from earwitness.report.plot import Plot
from earwitness.report.sounds import Sounds
from earwitness.report.tracks import Tracks, tracks
from earwitness.report.words import (
    Group,
    ScoreColumn,
    Way,
    codec_label,
    direction_label,
    groups,
    score_columns,
    summary,
)
from earwitness.report.worldmap import Waypoint, WorldMap, stops, world_map
from earwitness.version import __version__

MOST_TRACES = 400
"""Directions whose packets are read for the delay chart."""
MOST_ROWS = 600
"""Rows of the table on the page, unless all are requested."""
MOST_FAILURES = 100


@dataclass(frozen=True)
class DirectionView:
    """One direction of a call."""

    row: Row
    label: str
    tracks: Tracks
    said_key: str
    heard_key: str


@dataclass(frozen=True)
class CallView:
    """A call with everything shown about it."""

    number: int
    anchor: str
    title: str
    style: str
    record: CallRecord
    rows: tuple[Row, ...]
    directions: tuple[DirectionView, ...] = ()
    way: tuple[Waypoint, ...] = ()
    map: WorldMap | None = None
    milestones: tuple[tuple[str, float], ...] = ()
    """Name, and ms after the first one."""


@dataclass(frozen=True)
class TableRow:
    """A row of the verdict table."""

    number: int
    row: Row
    anchor: str
    style: str
    path: str
    codec: str
    label: str


@dataclass
class Page:
    """The contents of the page."""

    title: str
    subtitle: str
    version: str = __version__
    summary: list[tuple[str, str]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    table: list[TableRow] = field(default_factory=list)
    scores: list[ScoreColumn] = field(default_factory=list)
    """Columns of additional scorers."""
    rows_left_out: int = 0
    cdf: tuple[Plot, tuple[Key, ...]] | None = None
    cdf_left_out: int = 0
    mos: tuple[Plot, int] | None = None
    calls: list[CallView] = field(default_factory=list)
    calls_completed: int = 0
    calls_total: int = 0
    failures: list[CallView] = field(default_factory=list)
    failures_left_out: int = 0
    problems: list[Problem] = field(default_factory=list)
    sounds: Sounds = field(default_factory=Sounds)
    commands: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    clocks: list[str] = field(default_factory=list)
    attributions: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)


def build_page(dataset: Dataset, most_calls: int | None, on_event: Listener = ignore) -> Page:
    """Read a data set into a page. `most_calls`: calls shown in full; None: all."""
    problems: list[Problem] = []
    stored = list(dataset.readable(problems))
    numbers = {call.call_id: i + 1 for i, call in enumerate(stored)}
    rows = [row for call in stored for row in call.rows]
    found = groups(rows)
    page = Page(_title(rows, len(stored)), _subtitle(stored), groups=found, problems=problems)
    page.scores = score_columns(rows)
    page.calls_total = len(stored)
    complete = [call for call in stored if call.record.outcome == "completed"]
    page.calls_completed = len(complete)
    page.summary = summary(found)
    shown = choose_calls(complete, most_calls)
    for i, call in enumerate(shown):
        on_event(StageReached(f"call {i + 1} of {len(shown)}"))
        with apart(call.call_id, problems, without="its packets and sound"):
            page.calls.append(_call_view(call, numbers[call.call_id], page.sounds))
    failed = [call for call in stored if call.record.outcome != "completed"]
    kept = failed if most_calls is None else failed[:MOST_FAILURES]
    page.failures = [_failure_view(call, numbers[call.call_id]) for call in kept]
    page.failures_left_out = len(failed) - len(kept)
    anchors = {view.record.call_id: view.anchor for view in (*page.calls, *page.failures)}
    lines = [row for call in stored for row in (call.rows if call.record.outcome == "completed" else call.rows[:1])]
    listed = lines if most_calls is None else lines[:MOST_ROWS]
    one_way = len({(row.from_place, row.to_place) for row in rows}) == 1
    page.table = [_table_row(row, numbers[row.call_id], anchors.get(row.call_id, ""), one_way) for row in listed]
    page.rows_left_out = len(lines) - len(listed)
    on_event(StageReached("delays"))
    page.cdf, page.cdf_left_out = _cdf(complete, found, problems)
    page.mos = mos_chart(found)
    _provenance(page, [call.record for call in stored])
    return page


def choose_calls(calls: Sequence[StoredCall], most: int | None) -> list[StoredCall]:
    """The calls to show in full: for each way and codec the worst, the best, the middle one, and so on, by MOS-LQO."""
    if most is None or len(calls) <= most:
        return list(calls)
    kinds: dict[tuple[Way, str], list[StoredCall]] = {}
    for call in calls:
        kinds.setdefault((Way.of(call.rows[0]), call.rows[0].codec), []).append(call)
    queues = [_worst_best_middle(sorted(kind, key=_quality)) for kind in kinds.values()]
    chosen: list[StoredCall] = []
    for turn in range(max(map(len, queues))):
        chosen += [queue[turn] for queue in queues if turn < len(queue)]
    keep = {call.call_id for call in chosen[:most]}
    return [call for call in calls if call.call_id in keep]


def _worst_best_middle(ordered: list[StoredCall]) -> list[StoredCall]:
    picks = [0, len(ordered) - 1, len(ordered) // 2, *range(len(ordered))]
    return [ordered[i] for i in dict.fromkeys(picks)]


def _quality(call: StoredCall) -> float:
    return min((row.mos_lqo for row in call.rows if row.mos_lqo is not None), default=0.0)


def _call_view(call: StoredCall, number: int, sounds: Sounds) -> CallView:
    record, rows = call.record, call.rows
    directions = []
    for row in rows:
        made = tracks(call, row.direction)
        said = sounds.add(*made.said) if made.said else ""
        heard = sounds.add(*made.heard) if made.heard else ""
        directions.append(DirectionView(row, direction_label(row), made, said, heard))
    relays = [(relay.nickname, relay.place, relay.country) for relay in record.circuit.relays]
    way = stops((record.caller.place, record.callee.place), relays)
    took = Way.of(rows[0])
    return CallView(
        number,
        f"call-{number}",
        f"{took.label} · {codec_label(record.codec or rows[0].codec)}",
        path_class(took),
        record,
        rows,
        tuple(directions),
        tuple(way) if any(stop.city for stop in way) else (),
        world_map(way),
        _milestones(record),
    )


def _failure_view(call: StoredCall, number: int) -> CallView:
    row = call.rows[0]
    took = Way.of(row)
    title = f"{took.label} · {codec_label(row.codec)}" if row.codec else took.label
    return CallView(number, f"call-{number}", title, path_class(took), call.record, call.rows)


def _milestones(record: CallRecord) -> tuple[tuple[str, float], ...]:
    ordered = sorted(record.milestones.items(), key=lambda item: item[1])
    return tuple((name.replace("_", " "), (at - ordered[0][1]) / 1e6) for name, at in ordered)


def _table_row(row: Row, number: int, anchor: str, one_way: bool) -> TableRow:
    """`one_way`: all calls are between the same two places, so naming the speaker's is enough."""
    label = direction_label(row)
    if row.outcome != "completed":
        label = ""
    elif one_way:
        label = label.partition(" → ")[0]
    took = Way.of(row)
    return TableRow(number, row, anchor, path_class(took), took.label, codec_label(row.codec), label)


def _cdf(
    calls: Sequence[StoredCall], found: Sequence[Group], problems: list[Problem]
) -> tuple[tuple[Plot, tuple[Key, ...]] | None, int]:
    """The delay chart, and the number of directions left out of it."""
    every = [(call, row) for call in calls for row in call.rows]
    stride = -(-len(every) // MOST_TRACES) or 1
    taken = every[::stride]
    by_way = {group.way: list[tuple[F64, int]]() for group in found}
    for call, row in taken:
        with apart(call.call_id, problems, without="its delays in the chart"):
            delays = one_direction(call, row.direction)
            if delays is not None:
                by_way[Way.of(row)].append(delays)
    return delay_cdf(pooled({way: parts for way, parts in by_way.items() if parts})), len(every) - len(taken)


def _title(rows: Sequence[Row], calls: int) -> str:
    ways = list(dict.fromkeys((row.from_place, row.to_place) for row in rows))
    many = f"{calls} call{'' if calls == 1 else 's'}"
    if len(ways) == 1 and all(ways[0]):
        return f"{many} between {ways[0][0]} and {ways[0][1]}"
    places = len({place for way in ways for place in way if place})
    return f"{many} between {places} places" if places else many


def _subtitle(calls: Sequence[StoredCall]) -> str:
    days = sorted({call.record.started_at[:10] for call in calls if call.record.started_at})
    when = _day(days[0]) + (f" to {_day(days[-1])}" if days[-1] != days[0] else "") if days else ""
    networks = {"lab": "in a private Tor network", "public": "on the public Tor network"}
    where = " and ".join(sorted({networks.get(call.record.network, call.record.network) for call in calls}))
    seeds = sorted({call.record.seed for call in calls if call.record.seed is not None})
    seed = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}–{seeds[-1]}" if seeds else ""
    return " · ".join(part for part in (f"measured {when}" if when else "", where, seed) if part)


def _day(iso: str) -> str:
    try:
        day = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{day.day} {day:%B %Y}"


def _provenance(page: Page, records: Iterable[CallRecord]) -> None:
    """Each distinct command, version, clock and attribution, once."""
    commands: dict[str, None] = {}
    versions: dict[str, None] = {}
    clocks: dict[str, None] = {}
    attributions: dict[str, None] = {}
    networks: dict[str, None] = {}
    for record in records:
        if record.command:
            commands[" ".join(Path(word).name if i == 0 else word for i, word in enumerate(record.command))] = None
        versions |= dict.fromkeys(f"{name} {version}" for name, version in record.versions.items())
        clocks |= dict.fromkeys(f"{name}: {clock.kind}" for name, clock in record.clocks.items())
        if record.speech.attribution:
            attributions[f"{record.speech.name}: {record.speech.attribution}"] = None
        networks[record.network] = None
    page.commands, page.versions, page.clocks = list(commands)[:20], list(versions), list(clocks)
    page.attributions, page.networks = list(attributions), list(networks)
