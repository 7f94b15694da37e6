"""Blame for a capture, and for every direction of a data set, in parallel, with results kept as they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.listen import choose_stream, listen_to_capture
from earwitness.errors import EarwitnessError
from earwitness.events import Listener, ignore
from earwitness.replay.blame import CAUSES, Blame, blame
from earwitness.replay.tasks import ReplayTask, replay_all
from earwitness.replay.whatif import as_numbers, refused_of
from earwitness.replay.whatif_calls import DEFAULT_PHONE, DIRECTION_COLUMNS, find_directions, hear_direction
from earwitness.replay.whatif_journal import Record
from earwitness.replay.whatif_summary import mean_interval
from earwitness.speech.reference import speech
from earwitness.trace.selection import Selection, read_selected

PARTS = tuple(f"blame_{name}" for name in CAUSES)
"""Columns of the parts, in order; they sum to `blame_whole`."""

COLUMNS = (
    *DIRECTION_COLUMNS,
    "buffer",
    "reference_mos",
    "mos_lqo",
    "blame_whole",
    *PARTS,
    "blame_sentence",
    "notes",
    "refused",
)
_NUMBERS = {"hops", "reference_mos", "mos_lqo", "blame_whole", *PARTS}


@dataclass(frozen=True)
class BlamedCalls:
    """`calls`: one row per call and direction (`COLUMNS`); `summary`: one row per path, codec and buffer; `left_out`:
    (call, direction, reason)."""

    calls: pd.DataFrame
    summary: pd.DataFrame
    left_out: tuple[tuple[str, str, str], ...]

    @property
    def refused(self) -> tuple[tuple[str, str, str], ...]:
        """(call, direction and buffer, reason) of the directions without a score."""
        return refused_of(self.calls)


def blame_capture(
    capture: Path,
    reference: str | Path,
    *,
    buffer: str = DEFAULT_PHONE,
    to: str | None = None,
    codec: str | None = None,
    selected: Selection | None = None,
) -> Blame:
    """Divide the MOS that one direction of a captured call lost among its causes.

    `reference`: what the sending phone played. `buffer`, `to`, `codec`: of the phone that listens, as for `hear`.
    `selected`: which streams are meant, and their payload types.
    Raises InputError, or ScorerRefused if it cannot be scored.
    """
    selected = selected or Selection()
    read = read_selected(capture, selected)
    chosen = choose_stream(read, to=to, codec=codec, stream=selected.stream)
    said = speech(reference, chosen.codec.sample_rate).samples
    (heard,) = listen_to_capture(read, [buffer], reference=said, to=to, codec=codec, stream=selected.stream)
    found = blame(heard, chosen.codec, said)
    return replace(found, notes=(f"heard: {chosen.why}", *chosen.heard.doubts, *found.notes))


def blame_dataset(
    dataset: Path,
    *,
    buffer: str | None = None,
    out: Path | None = None,
    reference: str | Path | None = None,
    captures: Path | None = None,
    calls: int | None = None,
    executor: Executor | None = None,
    on_event: Listener = ignore,
    seed: int = 1,
) -> BlamedCalls:
    """Divide the MOS lost by each direction of a data set among its causes, as it was heard or through `buffer`.

    Results are kept in `out` (default: the folder blame of the data set) and do not depend on the number of workers.
    Other arguments and errors are as for `replay.whatif.what_if`.
    """
    asked = buffer_named(buffer).spec if buffer else ""
    found = find_directions(dataset, reference=reference, captures=captures, calls=calls)
    tasks = [ReplayTask(one, asked or one.buffer) for one in found.directions]
    records = replay_all(
        "blame",
        tasks,
        blamed,
        refused=unblamed,
        folder=out or dataset / "blame",
        executor=executor,
        on_event=on_event,
    )
    table = blame_table(records)
    return BlamedCalls(table, summarise_blame(table, seed=seed), found.left_out)


def unblamed(task: ReplayTask, why: str) -> Record:
    """The row of a direction without a score."""
    return {**task.heard.identity(), "buffer": task.buffer, "refused": why}


def blamed(task: ReplayTask) -> Record:
    """One direction: its row. If it cannot be heard or scored, the row contains the reason."""
    record = unblamed(task, "")
    try:
        (heard,), codec, said = hear_direction(task.heard, [task.buffer])
        return {**record, **blame(heard, codec, said.samples).to_dict(), "refused": ""}
    except EarwitnessError as error:
        return {**record, "refused": str(error)}


def blame_table(records: Sequence[Record]) -> pd.DataFrame:
    """Records as a data frame with `COLUMNS`."""
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = [record.get(name) for record in records]
        if name in _NUMBERS:
            columns[name] = as_numbers(values)
        else:
            columns[name] = pd.Series([value if isinstance(value, str) else "" for value in values], dtype="object")
    return pd.DataFrame(columns)


def summarise_blame(calls: pd.DataFrame, *, seed: int = 1) -> pd.DataFrame:
    """Means by path, codec and buffer, with 95 % intervals over places for each part; the means of the parts sum to
    that of the whole."""
    records = []
    for (condition, codec, buffer), group in calls.groupby(["condition", "codec", "buffer"]):
        scored = group[group["mos_lqo"].notna()]
        record: dict[str, Any] = {"condition": condition, "codec": codec, "buffer": buffer, "n": len(group)}
        record |= {"scored": len(scored), "places": scored["place"].nunique()}
        for name in ("reference_mos", "mos_lqo", "blame_whole", *PARTS):
            values = scored[name].to_numpy(dtype=np.float64)
            interval = mean_interval(values, scored["place"].to_numpy(), seed=seed)
            mean = float(np.mean(values)) if len(values) else float("nan")
            record |= {name: mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        records.append(record)
    return pd.DataFrame(records)
