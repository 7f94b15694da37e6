"""Compares imported raw captures and recordings with the published rows of the same calls, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from earwitness.published.calls_csv import JITTER, ROW_COLUMN
from earwitness.published.tidy import tidy_rows

JITTER_TOLERANCE_MS = 0.002
"""Two units of the third decimal, the precision of the study's per-packet files."""

KEY = ["condition", "codec_claimed", "place", "end", "iteration"]
_JITTER = [ROW_COLUMN[name] for name in JITTER]


def check_rows(imported: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """One row per imported end with a published row: the largest difference of its six jitter statistics, and PESQ.

    `imported`: rows of a data set imported with `as_published` (columns of `archive.schema.Row`); `published`: the tidy
    frame of the study's tables. Ends are joined on codec folder, place, end and iteration. `jitter_agrees`: within
    0.002 ms; an end without RTP agrees with an empty cell. `pesq_agrees`: raw and MOS-LQO to the third decimal; empty
    if there is no recording. Columns: call, end, jitter_difference_ms, jitter_agrees, pesq_raw, pesq_raw_published,
    mos_lqo, mos_lqo_published, pesq_agrees.
    """
    rows = imported[imported["reading"] == "as-published"]
    raw = tidy_rows(({str(k): v for k, v in row.items()} for row in rows.to_dict("records")), "raw")
    raw = raw.assign(
        codec_claimed=rows["codec_claimed"].to_numpy(dtype=object),
        recording=rows["source_recording"].fillna("").to_numpy(dtype=object),
    )
    theirs = published.assign(codec_claimed=published["codec"])
    joined = raw.merge(theirs, on=KEY, suffixes=("", "_published"))
    if joined.empty:
        return pd.DataFrame()
    ours_jitter = joined[_JITTER].to_numpy(dtype=float)
    their_jitter = joined[[f"{name}_published" for name in _JITTER]].to_numpy(dtype=float)
    both_absent = np.isnan(ours_jitter).all(axis=1) & np.isnan(their_jitter).all(axis=1)
    difference = np.abs(ours_jitter - their_jitter).max(axis=1)
    records: list[dict[str, Any]] = []
    for position, row in enumerate(joined.to_dict("records")):
        scored = bool(row["recording"])
        same = all(
            round(float(row[name]), 3) == round(float(row[f"{name}_published"]), 3) for name in ("pesq_raw", "mos_lqo")
        )
        records.append(
            {
                "call": row["call"],
                "end": row["end"],
                "jitter_difference_ms": difference[position],
                "jitter_agrees": bool(both_absent[position] or difference[position] <= JITTER_TOLERANCE_MS),
                "jitter_measured": not both_absent[position],
                "pesq_raw": row["pesq_raw"],
                "pesq_raw_published": row["pesq_raw_published"],
                "mos_lqo": row["mos_lqo"],
                "mos_lqo_published": row["mos_lqo_published"],
                "pesq_agrees": same if scored else None,
            }
        )
    checked = pd.DataFrame(records)
    # If several batches share a call's number, compare with the nearest of their rows.
    order = checked["jitter_difference_ms"].fillna(0).argsort(kind="stable")
    return checked.iloc[order].drop_duplicates(["call", "end"]).sort_values(["call", "end"], ignore_index=True)
