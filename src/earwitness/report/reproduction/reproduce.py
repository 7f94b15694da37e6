"""`earwitness reproduce`: a study's numbers, tables and figures, from the published artifact or an Earwitness data
set."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pandas as pd

from earwitness.archive.dataset import Dataset
from earwitness.archive.spreadsheet import write_csv
from earwitness.archive.staging import write_atomically
from earwitness.archive.storing import check_output, storing
from earwitness.errors import InputError
from earwitness.events import Listener, ignore
from earwitness.published.comparison import compare_conditions, correlations
from earwitness.published.importing import ImportSummary, import_folder
from earwitness.published.layout import scan
from earwitness.published.reproduction import Finding, metrics_numbers, reproduce_numbers
from earwitness.published.row_check import check_rows
from earwitness.published.suspect_batches import doubtful_batches, without_doubtful
from earwitness.published.tidy import Ends, read_ends, tidy_rows
from earwitness.report.reproduction.drawing import FigureData
from earwitness.report.reproduction.figures import draw_figures
from earwitness.report.reproduction.page import write_reproduction_page
from earwitness.report.reproduction.result import Reproduction
from earwitness.report.reproduction.text import numbers_markdown

RAW = "raw-calls"
_PAGE = "reproduction.html"
SAMPLE = " (raw)"
"""Marks a condition that is in the raw files but not in the tables."""


def reproduce(
    folder: Path,
    out: Path,
    *,
    raw: bool = True,
    executor: Executor | None = None,
    resamples: int = 1000,
    seed: int = 1,
    on_event: Listener = ignore,
) -> Reproduction:
    """Recompute a study and write it to `out`: tables as CSV, figures as PDF and PNG, Markdown and one HTML page.

    `folder` is the published artifact (its CSV tables, anywhere in it; unless `raw` is off also its raw files, imported
    once into `out`/raw-calls) or an Earwitness data set. Intervals come from `resamples` resamples of places with
    `seed`, so the same input gives the same bytes. Raises `InputError` if `folder` is neither.
    """
    ends = read_ends(folder)
    ours = (folder / "calls.parquet").is_file()
    check_output(out / _PAGE)
    with storing(out / _PAGE):
        out.mkdir(parents=True, exist_ok=True)
    imported, rows = (None, pd.DataFrame()) if ours or not raw else _import_raw(folder, out, executor, on_event)
    packets = ends.frame if ours else tidy_rows(({str(k): v for k, v in r.items()} for r in _records(rows)), RAW)
    sample = packets[~packets["condition"].isin(ends.conditions)] if not ours else packets.iloc[:0]
    sample = sample.assign(condition=sample["condition"] + SAMPLE)
    throughput = _metrics(folder, "onionperf-throughput")
    numbers = [] if ours else _numbers(ends, packets, throughput, resamples, seed)
    everything = pd.concat([ends.frame, sample], ignore_index=True) if len(sample) else ends.frame
    tables = _tables(everything, everything if ours else packets, resamples, seed)
    study = FigureData(
        everything,
        tuple(Ends(everything, ()).conditions),
        packets=packets,
        metrics_latency=_metrics(folder, "onionperf-latencies"),
        metrics_throughput=throughput,
    )
    with storing(out / _PAGE):
        figures, not_drawn = draw_figures(study, out / "figures")
    checked = check_rows(rows, ends.frame) if len(rows) else pd.DataFrame()
    result = Reproduction(
        out, ends.sources, tuple(numbers), checked, tables, tuple(figures), tuple(not_drawn), imported
    )
    with storing(out / _PAGE):
        return _write(result)


def _import_raw(
    folder: Path, out: Path, executor: Executor | None, on_event: Listener
) -> tuple[ImportSummary | None, pd.DataFrame]:
    """The artifact's raw calls, if it has any, measured as in the study; measured once and then kept in `out`."""
    try:
        calls = scan(folder).calls
    except InputError:
        return None, pd.DataFrame()
    if not any(call.published for call in calls):
        return None, pd.DataFrame()
    summary = import_folder(folder, out / RAW, as_published=True, executor=executor, on_event=on_event)
    return summary, Dataset.open(out / RAW).rows()


def _records(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    return rows.astype(object).where(rows.notna(), None).to_dict("records") if len(rows) else []


def _metrics(folder: Path, stem: str) -> pd.DataFrame | None:
    """A Tor Metrics table in the folder; None if there is none."""
    for path in sorted(folder.rglob(f"{stem}*.csv")):
        table = pd.read_csv(path)
        if {"date", "source", "md"} <= set(table.columns):
            return table
    return None


def _numbers(
    ends: Ends, packets: pd.DataFrame, throughput: pd.DataFrame | None, resamples: int, seed: int
) -> list[Finding]:
    three = packets[packets["hops"] == 3] if len(packets) else packets
    nearest = {"raw 3-hop files here": three, "2-hop table": ends.frame[ends.frame["hops"] == 2]}
    numbers = reproduce_numbers(ends.frame, nearest, resamples=resamples, seed=seed)
    return numbers + (metrics_numbers(throughput) if throughput is not None else [])


def _tables(ends: pd.DataFrame, packets: pd.DataFrame, resamples: int, seed: int) -> dict[str, pd.DataFrame]:
    doubtful = doubtful_batches(ends)
    compared = ends
    if len(doubtful):
        kept = without_doubtful(ends)
        kept = kept[kept["condition"] == "Non-Tor"]
        kept = kept.assign(condition="Non-Tor, less doubtful")
        plain = ends["condition"] == "Non-Tor"
        compared = pd.concat([ends[plain], kept, ends[~plain]], ignore_index=True)
    together = correlations(ends, resamples=min(resamples, 300), seed=seed)
    if packets is not ends and len(packets):
        of_packets = correlations(packets, resamples=min(resamples, 300), seed=seed)
        spikes = of_packets[of_packets["measure"].isin(["gaps_150ms", "spikes_150ms"])]
        together = pd.concat([together, spikes.assign(condition=spikes["condition"] + SAMPLE)], ignore_index=True)
    seen = compare_conditions(packets, "condition", resamples=resamples, seed=seed) if packets is not ends else None
    return {
        "conditions": compare_conditions(compared, "condition", resamples=resamples, seed=seed),
        "raw-files": seen if seen is not None and len(packets) else pd.DataFrame(),
        "codecs": compare_conditions(ends, "codec", resamples=resamples, seed=seed),
        "places": compare_conditions(ends, "place", resamples=resamples, seed=seed),
        "correlations": together,
        "doubtful-batches": doubtful,
    }


def _write(result: Reproduction) -> Reproduction:
    files: list[Path] = []
    tables = dict(result.tables)
    if result.numbers:
        tables["numbers"] = pd.DataFrame([number.to_dict() for number in result.numbers])
    if len(result.rows):
        tables["rows"] = result.rows
    for name, table in tables.items():
        if len(table):
            path = result.out / f"{name}.csv"
            write_csv(table, path)
            files.append(path)
    if result.imported is not None:
        path = result.out / "import.json"
        text = json.dumps(result.imported.to_dict(), indent=1, ensure_ascii=False) + "\n"
        write_atomically(path, text.encode(), durable=False)
        files.append(path)
    markdown = result.out / "reproduction.md"
    text = numbers_markdown(result.numbers, result.rows, result.tables)
    write_atomically(markdown, text.encode(), durable=False)
    files.append(markdown)
    files.extend(path for figure in result.figures for path in figure.files)
    finished = Reproduction(**{**result.__dict__, "files": tuple(files)})
    page = write_reproduction_page(finished.out / _PAGE, finished)
    return Reproduction(**{**finished.__dict__, "files": (*files, page)})
