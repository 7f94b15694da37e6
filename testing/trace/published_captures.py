"""The published captures and the rows that they belong to."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STATISTICS = ("mean", "median", "max", "range", "iqr", "std_dev")


@dataclass(frozen=True)
class Published:
    """One Non-Tor capture: where it is, which side it was taken for, and its row's jitter (None: left empty)."""

    path: Path
    side: str
    jitter: tuple[float, ...] | None


def captures(published: Path) -> list[Path]:
    """All captures at hand."""
    return sorted((published / "05-data" / "Sample-Raw-Data").rglob("*.pcap"))


def non_tor(published: Path) -> Iterator[Published]:
    """Each Non-Tor capture that has a row of its own in the published table."""
    with (published / "05-data" / "Extracted-Data" / "Non-tor-data.csv").open(newline="") as handle:
        rows: dict[tuple[str, str, int], list[dict[str, str]]] = {}
        for row in csv.DictReader(handle):
            rows.setdefault((row["codec"], row["location"], int(row["iteration_no"])), []).append(row)
    for path in captures(published):
        parts = path.parts[path.parts.index("Sample-Raw-Data") + 1 :]
        if parts[0] != "Non-Tor":
            continue
        codec, place, side = parts[1].lower(), parts[3], parts[4]
        iteration = int(path.stem.rsplit("_", 1)[1])
        # One place was measured twice under one name: the rows of both are there, and one of them is this capture's.
        named = rows.get((codec, place, iteration)) or rows.get((codec, place.lstrip("0123456789"), iteration), [])
        for row in named[:1] if len(named) == 1 else named:
            cells = [row[f"{side}_jitter_{name}"] for name in STATISTICS]
            yield Published(path, side, None if "" in cells else tuple(float(cell) for cell in cells))
