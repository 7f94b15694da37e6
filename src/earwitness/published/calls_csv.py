"""The published study's table of calls: its columns, reading and writing it, and its names of places and codecs.

One row per call, with both ends side by side; MOS-LQO is P.862.1, jitter statistics are of the per-packet RFC 3550
series in ms. A score of 0.00 means the call could not be scored; an empty cell means not measured.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pandas as pd

from earwitness.archive.spreadsheet import write_csv
from earwitness.errors import InputError
from earwitness.files import MIB, read_regular

ENDS = ("caller", "callee")
"""The two ends of a call; the caller's score and jitter describe what the caller received."""

MOST_BYTES = 16 * MIB
"""Limit of a published table: 16 times the longest."""

SCORES = ("pesq_raw", "pesq_mos")
JITTER = ("jitter_mean", "jitter_median", "jitter_max", "jitter_range", "jitter_iqr", "jitter_std_dev")

COLUMNS: tuple[str, ...] = (
    "iteration_no",
    "tor_status",
    "location",
    "codec",
    *(f"{end}_{score}" for end in ENDS for score in SCORES),
    *(f"{end}_{statistic}" for end in ENDS for statistic in JITTER),
)
"""The published columns, in order."""

ROW_COLUMN: dict[str, str] = {
    "pesq_raw": "pesq_raw",
    "pesq_mos": "mos_lqo",
    "jitter_mean": "jitter_mean_ms",
    "jitter_median": "jitter_median_ms",
    "jitter_max": "jitter_max_ms",
    "jitter_range": "jitter_range_ms",
    "jitter_iqr": "jitter_iqr_ms",
    "jitter_std_dev": "jitter_sd_ms",
}
"""Earwitness's name for each published measure of one end."""

PLACES: dict[str, tuple[str, str]] = {
    "franklond": ("Frankfurt", "London"),
    "sydneyfrank": ("Sydney", "Frankfurt"),
    "banglnyc": ("Bangalore", "New York"),
    "singaporenyc": ("Singapore", "New York"),
    "sansamster": ("San Francisco", "Amsterdam"),
    "nycsyd": ("New York", "Sydney"),
    "capetownseoul": ("Cape Town", "Seoul"),
    "jakartamexico": ("Jakarta", "Mexico"),
    "osakauae": ("Osaka", "UAE"),
    "saupaulmalaysia": ("São Paulo", "Malaysia"),
    "saopaolomalaysia": ("São Paulo", "Malaysia"),
    "telavivsydney": ("Tel Aviv", "Sydney"),
    "oregoncalifornia": ("Oregon", "California"),
    "parislondon": ("Paris", "London"),
    "stockholmfrankfurt": ("Stockholm", "Frankfurt"),
    "stockholmfrank": ("Stockholm", "Frankfurt"),
    "virginiaohio": ("Virginia", "Ohio"),
}
"""Places of caller and callee, by the letters of the study's location name, whose numbers and spellings vary.

Some places are named by country or state only, as in the study.
"""

CODECS: dict[str, str] = {"g711": "g711u", "g711u": "g711u", "gsm": "gsm", "speex": "speex", "opus": "opus"}
"""Earwitness's codec name by the folder's or table's, in lower case. The study's G.711 is mu-law."""


def cities(location: str) -> tuple[str, str]:
    """Cities of caller and callee from the study's location name; an unknown name is split at its hyphen."""
    letters = re.sub(r"[^a-z]", "", location.lower())
    if letters in PLACES:
        return PLACES[letters]
    bare = re.sub(r"^\d+|\d+$", "", location)
    first, _, second = bare.partition("-")
    return first.strip() or bare, second.strip()


def place_name(location: str) -> str:
    """The pair of places as a label: `Frankfurt - London` (with an en dash)."""
    return " – ".join(part for part in cities(location) if part)


def read_published_csv(path: Path) -> pd.DataFrame:
    """A published table, (calls, 20): numbers as float64, NaN where a cell is empty or N/A.

    Raises `InputError` if the file cannot be read or has other columns.
    """
    try:
        table = pd.read_csv(io.BytesIO(read_regular(path, MOST_BYTES)), skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        happened = getattr(error, "strerror", None) or error
        raise InputError(
            "reading the published table", path, happened, "give a CSV with the study's columns"
        ) from error
    table.columns = table.columns.str.strip()
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            "reading the published table", path, f"columns missing: {', '.join(missing)}", "give a CSV of the study"
        )
    for name in COLUMNS[4:]:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table[list(COLUMNS)]


def write_published_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Write `rows` (one per call) with exactly the published columns; missing values are empty cells.

    Scores have three decimals, as printed by the study's binary; the jitter statistics keep full precision, as in the
    published files.
    """
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for end in ENDS:
        for score in SCORES:
            table[f"{end}_{score}"] = pd.to_numeric(table[f"{end}_{score}"], errors="coerce").round(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, path)
