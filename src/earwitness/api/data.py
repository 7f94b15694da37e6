"""Data sets in a notebook: open, compare, replay through other jitter buffers, query with SQL, and report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from earwitness.api.needing import face_needs
from earwitness.events import Listener, ignore

if TYPE_CHECKING:
    import pandas as pd

    from earwitness.archive.dataset import Dataset
    from earwitness.archive.problems import Problem
    from earwitness.replay.blame_calls import BlamedCalls
    from earwitness.replay.whatif import WhatIf

    Data: TypeAlias = Dataset | str | Path
    """A data set: open, or its directory."""

DEFAULT_CALLS = 24
"""Calls that a report shows in full; about 250 kB each with sound."""


def open_dataset(directory: str | Path) -> Dataset:
    """Open a data set, as written by `ew.place_calls`, `ew.run_study` and every `--out` of the command line.

    `rows()` is a table with one row per call and direction (docs/data-dictionary.md); `for call in data` iterates over
    the calls, and `data[call_id]` is one of them, with `record`, `trace(direction)`, `heard(direction)` and
    `ledger(direction)`, where the direction is `to_callee` or `to_caller`.

    Raises:
        EarwitnessError: it does not exist, is damaged, or was written by a later version.
    """
    face_needs("open_dataset", "data")
    from earwitness.archive.dataset import Dataset

    return Dataset.open(directory)


def compare(
    data: Data | pd.DataFrame,
    by: str = "path",
    measures: Sequence[str] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 1,
    any_instrument: bool = False,
) -> pd.DataFrame:
    """Compare calls that differ in one factor only: one row per pair of levels and measure.

    Args:
        data: a data set, its directory, or its rows (as `Dataset.rows()` gives them, filtered as you like).
        by: `path`, `codec`, `places`, `speech`, `phone`, `load`, `link`, `buffer` or `concealment`.
        measures: columns of the rows, `completed` or `acceptable`; by default the most important ones.
        resamples, seed: of the bootstrap over pairs of places; the same seed gives the same intervals.
        any_instrument: also use calls that failed the instrument's self-check.

    Returns:
        `a`, `b`, `measure`, `pairs`, `places`, `mean_a`, `mean_b`, `difference` (b less a) with its 95 % interval
        `low`..`high`, `d_z` (Cohen's d of the pairs), `b_higher` (share of pairs), `left_out`, `note`.

    Raises:
        EarwitnessError: unknown factor or measure, or no two calls differ in that factor alone.
    """
    face_needs("compare", "data")
    import pandas as pd

    from earwitness.analysis.paired import COMPARED, Difference
    from earwitness.analysis.paired import compare as compare_rows

    rows = data if isinstance(data, pd.DataFrame) else open_dataset(directory_of(data)).rows()
    found = compare_rows(rows, by, measures or COMPARED, resamples=resamples, seed=seed, any_instrument=any_instrument)
    columns = [field.name for field in dataclasses.fields(Difference)]
    return pd.DataFrame([one.to_dict() for one in found], columns=columns)


def what_if(
    data: Data,
    buffers: Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    reference: str | Path | None = None,
    captures: str | Path | None = None,
    calls: int | None = None,
    workers: int = 1,
    on_event: Listener = ignore,
    seed: int = 1,
) -> WhatIf:
    """Replay all calls of a data set through each of these jitter buffers, and score them.

    Args:
        data: a data set or its directory.
        buffers: such as `["fixed:60", "adaptive"]`; by default a wide choice, with the oracle as the bound.
        out: folder for finished replays, so that a second run resumes; by default whatif in the data set.
        reference: the speech, for calls stored without it, such as imported ones.
        captures: the folder that was imported, to estimate each phone's playout clock from its capture.
        calls: limit to the first this many calls; None: all.
        workers: number of parallel processes; the result does not depend on it.
        on_event: called with each progress event; `print` is sufficient.
        seed: of the bootstrap for the intervals.

    Returns:
        `calls`, one row per call, direction and buffer; `summary`, one row per path, codec and buffer; `left_out`.

    Raises:
        EarwitnessError: no such buffer, or nothing that can be heard. See docs/whatif.md.
    """
    face_needs("what_if", "data")
    from earwitness.netns.workers import pool
    from earwitness.replay.whatif import DEFAULT_BUFFERS
    from earwitness.replay.whatif import what_if as hear_again

    with pool(workers) as executor:
        return hear_again(
            directory_of(data),
            buffers or DEFAULT_BUFFERS,
            out=_path(out),
            reference=reference,
            captures=_path(captures),
            calls=calls,
            executor=executor,
            on_event=on_event,
            seed=seed,
        )


def blame_dataset(
    data: Data,
    buffer: str | None = None,
    *,
    out: str | Path | None = None,
    reference: str | Path | None = None,
    captures: str | Path | None = None,
    calls: int | None = None,
    workers: int = 1,
    on_event: Listener = ignore,
    seed: int = 1,
) -> BlamedCalls:
    """Attribute the loss of MOS-LQO to causes, for every call of a data set.

    `buffer`: the jitter buffer to replay through; by default the one that each call was heard with. `out` is by default
    the folder blame in the data set; the other arguments are those of `ew.what_if`.

    Returns:
        `calls`, one row per call and direction with `blame_codec` ... `blame_misalignment`; `summary`, one row per
        path, codec and buffer; `left_out`.

    Raises:
        EarwitnessError: no such buffer, or nothing that can be heard. See docs/whatif.md.
    """
    face_needs("blame_dataset", "data")
    from earwitness.netns.workers import pool
    from earwitness.replay.blame_calls import blame_dataset as blame_calls

    with pool(workers) as executor:
        return blame_calls(
            directory_of(data),
            buffer=buffer,
            out=_path(out),
            reference=reference,
            captures=_path(captures),
            calls=calls,
            executor=executor,
            on_event=on_event,
            seed=seed,
        )


def query(data: Data, sql: str) -> pd.DataFrame:
    """Query a data set with SQL (DuckDB's dialect), read-only.

    Tables: `calls` (one row per call and direction), `packets`, `frames`, `truth`, and for a study `planned` and
    `attempts`. Problems with unreadable files are in `attrs["problems"]` of the result.

    Raises:
        EarwitnessError: the data set does not exist, or DuckDB rejects the query.
    """
    face_needs("query", "query")
    import pandas as pd

    from earwitness.study.query import query as ask

    answer = ask(directory_of(data), sql)
    frame = pd.DataFrame(answer.rows, columns=list(answer.columns))
    frame.attrs["problems"] = list(answer.problems)
    return frame


def write_report(
    data: Data,
    out: str | Path | None = None,
    *,
    calls: int | None = DEFAULT_CALLS,
    figures: str | Path | None = None,
    on_event: Listener = ignore,
) -> Path:
    """Write the report of a data set, one HTML file with embedded sound, and return its path.

    `out`: by default report.html in the data set. `calls`: how many are shown in full; None: all. `figures`: a folder
    for figures for a paper (PDF and PNG). `on_event` is called at each stage; `print` is sufficient.

    Raises:
        EarwitnessError: the data set does not exist, or a file cannot be written.
    """
    face_needs("write_report", "report")
    from earwitness.report.figures import write_figures
    from earwitness.report.html import write_report as write_page

    problems: list[Problem] = []
    directory = directory_of(data)
    page = write_page(directory, out, calls=calls, on_event=on_event, problems=problems)
    if figures is not None:
        write_figures(directory, figures, problems)
    return page


def directory_of(data: Data) -> Path:
    """Return the directory of a data set that is given open or by its directory."""
    return Path(data) if isinstance(data, str | Path) else data.path


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
