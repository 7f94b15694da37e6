"""One data frame format for every study: one row per end of a call, whatever layout it was stored in.

The published tables (one row per call) and Earwitness's data sets (one row per call and direction) are converted to the
same columns, so that each analysis and figure is written once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earwitness.analysis.conditions import condition, conditions
from earwitness.archive.index import survey
from earwitness.errors import InputError
from earwitness.files import open_regular
from earwitness.path.registry import known_path
from earwitness.published.calls_csv import (
    CODECS,
    COLUMNS,
    ENDS,
    JITTER,
    ROW_COLUMN,
    SCORES,
    place_name,
    read_published_csv,
)

_LONGEST_HEADER = 65_536

MEASURES = (
    *ROW_COLUMN.values(),
    "gaps_150ms",
    "spikes_150ms",
    "rtcp_rtt_ms",
    "owd_p50_ms",
    "loss_ratio",
    "late_ratio",
    "mouth_to_ear_ms",
)

TIDY: tuple[str, ...] = (
    "source",
    "call",
    "condition",
    "path",
    "hops",
    "codec",
    "place",
    "end",
    "iteration",
    "outcome",
    "doubts",
    *MEASURES,
)
"""Columns of the tidy frame. `end` is the listener: caller (direction to_caller) or callee."""


TEXTS = ("source", "call", "condition", "path", "codec", "place", "end", "outcome", "doubts")


@dataclass(frozen=True)
class Ends:
    """Every end of every call of a study.

    `frame` has the columns `TIDY`; measures are float64, NaN if not measured. `sources` lists what was read, `skipped`
    what was not, with the reasons.
    """

    frame: pd.DataFrame
    sources: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def of(self, condition: str) -> pd.DataFrame:
        """The ends of one condition (`Non-Tor`, `Tor, 2 hops` ...)."""
        return self.frame[self.frame["condition"] == condition]

    @property
    def conditions(self) -> list[str]:
        """The conditions present, simplest path first."""
        order = self.frame[["condition", "path", "hops"]].drop_duplicates("condition")
        key = order["path"].map(_goes_over_tor).astype(int) * 100 - order["hops"].fillna(0)
        return [str(name) for name in order.assign(key=key).sort_values(["key", "condition"])["condition"]]


def _goes_over_tor(path: object) -> bool:
    """Whether a path goes over Tor; true for an unknown path."""
    kind = known_path(str(path))
    return kind is None or kind.tor is not None


def read_ends(folder: Path) -> Ends:
    """The ends of all calls under `folder`: an Earwitness data set, or the study's CSV tables anywhere in it.

    Published tables are recognised by their columns; `two-hop` in the name means 2 hops, otherwise Tor has 3. Raises
    `InputError` if there is neither.
    """
    if (folder / "calls.parquet").is_file():
        return read_dataset_ends(folder)
    if not folder.is_dir():
        raise InputError("reading a study from", folder, "no such folder", "give a data set or the published artifact")
    frames, sources, skipped = [], [], []
    for path in sorted(folder.rglob("*.csv")):
        try:
            with open_regular(path) as file:
                header = file.readline(_LONGEST_HEADER).decode("utf-8", "replace")
        except OSError as error:
            skipped.append((path.relative_to(folder).as_posix(), error.strerror or str(error)))
            continue
        if not set(COLUMNS) <= {name.strip() for name in header.split(",")}:
            continue
        name = path.relative_to(folder).as_posix()
        try:
            frames.append(tidy_published(read_published_csv(path), name))
            sources.append(name)
        except InputError as error:
            skipped.append((name, error.happened))
    if not frames:
        raise InputError(
            "reading a study from",
            folder,
            "no calls.parquet and no CSV with the published columns",
            "give a data set or the published artifact",
        )
    return Ends(pd.concat(frames, ignore_index=True), tuple(sources), tuple(skipped))


def tidy_published(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """A published table (one row per call) as ends: first the callers, then the callees, each in table order."""
    tor = table["tor_status"].astype(str).str.strip().str.lower().eq("tor")
    two = "two-hop" in source.lower() or "2-hop" in source.lower()
    hops = np.where(tor, 2 if two else 3, 0)
    common = {
        "source": source,
        "call": [f"{source}#{row}" for row in range(len(table))],
        "condition": np.where(tor, f"Tor, {2 if two else 3} hops", "Non-Tor"),
        "path": np.where(tor, "vpn-tor", "vpn"),
        "hops": hops,
        "codec": [CODECS.get(str(name).strip().lower(), str(name)) for name in table["codec"]],
        "place": [place_name(str(name)) for name in table["location"]],
        "iteration": table["iteration_no"].to_numpy(),
        "doubts": "",
    }
    frames = []
    for end in ENDS:
        measures = {ROW_COLUMN[name]: table[f"{end}_{name}"].to_numpy(dtype=float) for name in (*SCORES, *JITTER)}
        score = measures["mos_lqo"]
        outcome = np.where(score > 0, "completed", np.where(np.isnan(score), "not measured", "scorer_refused"))
        frames.append(pd.DataFrame({**common, "end": end, "outcome": outcome, **measures}))
    return _complete(pd.concat(frames, ignore_index=True))


def read_dataset_ends(folder: Path) -> Ends:
    """The ends of an Earwitness data set, from its index `calls.parquet`, and from records newer than the index."""
    index = survey(folder)[0].to_pandas()
    return Ends(
        tidy_rows(({str(k): v for k, v in row.items()} for row in index.to_dict("records")), folder.name),
        ("calls.parquet",),
    )


def tidy_rows(rows: Iterable[dict[str, Any]], source: str) -> pd.DataFrame:
    """Earwitness rows (one per call and direction, as dictionaries) as ends."""
    table = pd.DataFrame(list(rows))
    if table.empty:
        return _complete(pd.DataFrame({name: [] for name in TIDY}))
    needed = ("hops", "iteration", "doubts", "load", "link", "relay_nodelay", *MEASURES)
    table = table.reindex(columns=[*dict.fromkeys([*table.columns, *needed])])
    table[["load", "link"]] = table[["load", "link"]].astype("string").fillna("")
    hops = pd.to_numeric(table["hops"], errors="coerce").fillna(0).astype(int)
    places = table["from_place"].fillna("").str.cat(table["to_place"].fillna(""), sep=" – ").str.strip(" –")
    return _complete(
        pd.DataFrame(
            {
                "source": source,
                "call": table["call_id"],
                "condition": [
                    condition(network, path, count, conditions(load=load, link=link, relay_nodelay=nodelay))
                    for network, path, count, load, link, nodelay in zip(
                        table["network"],
                        table["path"],
                        hops,
                        table["load"],
                        table["link"],
                        table["relay_nodelay"].astype("boolean").fillna(False),
                        strict=True,
                    )
                ],
                "path": table["path"],
                "hops": hops,
                "codec": table["codec"].fillna("").replace("", "no packets"),
                "place": places,
                "end": np.where(table["direction"] == "to_caller", "caller", "callee"),
                "iteration": table["iteration"],
                "outcome": table["outcome"],
                "doubts": table["doubts"].fillna(""),
                **{name: pd.to_numeric(table[name], errors="coerce") for name in MEASURES},
            }
        )
    )


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with all columns of `TIDY`, measures as float64."""
    kinds = {**dict.fromkeys(TEXTS, "object"), **dict.fromkeys(MEASURES, "float64"), "hops": "int64"}
    return frame.reindex(columns=list(TIDY)).astype(kinds)
