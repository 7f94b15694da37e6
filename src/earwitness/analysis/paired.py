"""Paired comparison of a data set's calls: differences within blocks, with intervals over clusters of calls."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from earwitness.analysis.conditions import condition, conditions
from earwitness.analysis.statistics import Interval, cluster_bootstrap
from earwitness.arrays import F64
from earwitness.errors import InputError

AXIS_COLUMNS: dict[str, str] = {
    "path": "level_path",
    "codec": "codec",
    "places": "place",
    "speech": "speech",
    "phone": "phone",
    "load": "load",
    "link": "link",
    "concealment": "concealment",
    "buffer": "playout_buffer",
}
"""What calls can be compared by (all axes of a study), and the column with a call's value."""

COMPARED = (
    "completed",
    "acceptable",
    "mos_lqo",
    "mos_cqe",
    "mouth_to_ear_ms",
    "jitter_mean_ms",
    "loss_ratio",
    "late_ratio",
    "concealed_ratio",
)
"""Measures compared by default. `completed`: 1 or 0, of the first attempt; `acceptable`: 1 or 0, whether the verdict is
good or acceptable."""

_FEW_PLACES = 6


@dataclass(frozen=True)
class Difference:
    """One measure for one pair of levels: `b` minus `a`, over calls that differ in nothing else."""

    by: str
    measure: str
    a: str
    b: str
    pairs: int
    places: int
    mean_a: float
    mean_b: float
    difference: float
    """Mean of the paired differences."""
    low: float
    high: float
    """95 % percentile bootstrap interval; whole places (with one place: pairs) are resampled."""
    d_z: float
    """Cohen's d for pairs: mean difference / standard deviation of the differences (Cohen 1988, 2.3.5)."""
    b_higher: float
    """Share of pairs in which b is higher; ties count half."""
    left_out: int
    """Pairs without a value on one side: the call did not complete, or its instrument was not good enough."""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in column order."""
        return dataclasses.asdict(self)


def one_call_a_row(rows: pd.DataFrame, *, any_instrument: bool = False) -> pd.DataFrame:
    """Convert a data set's rows (one per call and direction) to one row per planned call, averaging both directions.

    Of several attempts at a call the last completed one is used, except for `completed`, which uses the first. Measures
    of a call whose instrument was not good enough are missing unless `any_instrument`. Adds level_path (the study's
    name for the path, else path, hops and TCP_NODELAY), place, and pairing (what two calls must share to be compared,
    apart from the axes).
    """
    frame = rows.copy()
    frame["level_path"] = [
        arm or condition(network, path, 0 if pd.isna(hops) else int(hops), conditions(relay_nodelay=nodelay))
        for arm, network, path, hops, nodelay in zip(
            frame["arm"].fillna(""),
            frame["network"],
            frame["path"],
            frame["hops"],
            frame["relay_nodelay"].fillna(False),
            strict=True,
        )
    ]
    frame["place"] = frame["from_place"].fillna("") + " – " + frame["to_place"].fillna("")
    repeat = frame["block"].fillna("").str.partition(".")[0]
    in_study = frame["study"].fillna("") != ""
    frame["pairing"] = np.where(
        in_study,
        frame["study"].fillna("") + "/" + repeat,
        frame["network"].fillna("") + "/seed " + _text(frame["seed"]),
    )
    # The buffer is an outcome: a call that failed before it was heard has none, but its pairs must still be found.
    frame["playout_buffer"] = frame["playout_buffer"].fillna("")
    completed = frame["outcome"] == "completed"
    frame["acceptable"] = frame["verdict"].isin(["good", "acceptable"]).astype("Float64").where(completed)
    if not any_instrument:
        bad = (frame["instrument_ok"] == False).fillna(False)  # noqa: E712 -- a nullable column
        measured = [name for name in frame.columns if name in {*COMPARED, *_numeric(frame)} and name != "attempt"]
        frame.loc[bad, measured] = pd.NA
    frame["attempt"] = frame["attempt"].fillna(1)
    keys = ["pairing", *(name for axis, name in AXIS_COLUMNS.items() if axis != "buffer")]
    frame[keys] = frame[keys].fillna("")
    numeric = sorted({*_numeric(frame), "acceptable"} - {"attempt", "seed", "hops", "schema_version", "iteration"})
    calls = (
        frame.groupby(["call_id", *keys, "playout_buffer", "outcome", "attempt"], dropna=False)[numeric]
        .mean()
        .reset_index()
        .sort_values(["attempt", "call_id"])
    )
    calls["completed"] = (calls["outcome"] == "completed").astype(float)
    calls["buffer_of_call"] = calls["playout_buffer"]
    several = calls.loc[calls["playout_buffer"] != "", "playout_buffer"].nunique() > 1
    keys = [*keys, "buffer_of_call"] if several else keys
    first = calls.groupby(keys, dropna=False)["completed"].first().rename("completed")
    best = calls.sort_values(["completed", "attempt", "call_id"]).groupby(keys, dropna=False).last()
    return best.drop(columns="completed").join(first).reset_index()


def compare(
    rows: pd.DataFrame,
    by: str,
    measures: Sequence[str] = COMPARED,
    *,
    resamples: int = 2000,
    seed: int = 1,
    any_instrument: bool = False,
) -> list[Difference]:
    """Compare every pair of levels of an axis, measure by measure, over pairs of calls that agree in all else.

    `rows`: `Dataset.rows()`. Two calls form a pair if they belong to the same repeat of a study (or, outside studies,
    have the same seed) and all other axes are equal. Intervals resample whole places, because calls between two cities
    share circuits and days; the same rows and seed give the same numbers. Raises InputError if the axis or measure does
    not exist, or no two calls form a pair.
    """
    if by not in AXIS_COLUMNS:
        raise InputError("comparing by", by, "no such axis", f"choose one of {', '.join(AXIS_COLUMNS)}")
    for measure in measures:
        if measure not in ("completed", "acceptable") and measure not in _numeric(rows):
            choice = ", ".join(("completed", "acceptable", *_numeric(rows)))
            raise InputError("comparing", measure, "no such measure", f"choose one of {choice}")
    calls = one_call_a_row(rows, any_instrument=any_instrument) if len(rows) else rows
    pairs = _pairs(calls, by) if len(rows) else {}
    if not pairs:
        raise InputError(
            "comparing by", by, "no two calls differ in that alone", "compare by another axis, or measure more"
        )
    return [
        _difference(calls, by, measure, a, b, joined, resamples, seed)
        for (a, b), joined in pairs.items()
        for measure in measures
    ]


def paired_values(calls: pd.DataFrame, by: str, measure: str) -> dict[tuple[str, str], tuple[F64, NDArray[Any]]]:
    """For each pair of levels: the differences (n,) of one measure, b minus a, and their places (n,); known values
    only."""
    found = {}
    for levels, joined in _pairs(calls, by).items():
        difference = _values(joined, f"{measure}_b") - _values(joined, f"{measure}_a")
        known = np.isfinite(difference)
        found[levels] = difference[known], joined["cluster"].to_numpy(dtype=str)[known]
    return found


def _pairs(calls: pd.DataFrame, by: str) -> dict[tuple[str, str], pd.DataFrame]:
    column = AXIS_COLUMNS[by]
    keys = ["pairing", *(name for axis, name in AXIS_COLUMNS.items() if axis not in (by, "buffer"))]
    if by != "buffer" and "buffer_of_call" in calls.columns and calls["buffer_of_call"].nunique() > 1:
        keys.append("buffer_of_call")
    levels = [str(level) for level in dict.fromkeys(calls[column]) if level]
    found = {}
    for a, b in itertools.combinations(sorted(levels), 2):
        joined = calls[calls[column] == a].merge(calls[calls[column] == b], on=keys, suffixes=("_a", "_b"))
        if len(joined):
            # When places are compared, a pair has no common place; then each repeat is a cluster.
            joined["cluster"] = joined["place"] if "place" in joined.columns else joined["pairing"]
            found[a, b] = joined
    return found


def _difference(
    calls: pd.DataFrame, by: str, measure: str, a: str, b: str, joined: pd.DataFrame, resamples: int, seed: int
) -> Difference:
    first, second = _values(joined, f"{measure}_a"), _values(joined, f"{measure}_b")
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    difference = second - first
    clusters = joined["cluster"].to_numpy(dtype=str)[known]
    places = len(np.unique(clusters))
    n = len(difference)
    note = ""
    if places < 2:
        clusters = np.arange(n).astype(str)
        note = "one place: not valid for others"
    elif places < _FEW_PLACES:
        note = f"{places} places: the interval is too narrow"
    spread = Interval(np.nan, np.nan)
    if n > 1:
        spread = cluster_bootstrap(lambda d: float(np.mean(d)), [difference], clusters, resamples=resamples, seed=seed)
    sd = float(np.std(difference, ddof=1)) if n > 1 else np.nan
    mean = float(np.mean(difference)) if n else np.nan
    return Difference(
        by=by,
        measure=measure,
        a=a,
        b=b,
        pairs=n,
        places=places,
        mean_a=float(np.mean(first)) if n else np.nan,
        mean_b=float(np.mean(second)) if n else np.nan,
        difference=mean,
        low=spread.low,
        high=spread.high,
        d_z=mean / sd if sd > 0 else np.nan,
        b_higher=float(np.mean((difference > 0) + 0.5 * (difference == 0))) if n else np.nan,
        left_out=len(joined) - n,
        note=note,
    )


def _values(frame: pd.DataFrame, column: str) -> F64:
    return pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _numeric(rows: pd.DataFrame) -> list[str]:
    numbers = rows.select_dtypes(include="number").columns
    return [str(name) for name in numbers if name not in ("seed", "hops", "schema_version", "iteration", "attempt")]


def _text(column: pd.Series[Any]) -> pd.Series[str]:
    return column.astype("string").fillna("-")
