"""The result of a reproduction: numbers, tables, figures, and their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from earwitness.published.importing import ImportSummary
from earwitness.published.reproduction import Finding
from earwitness.report.reproduction.figures import Drawn


@dataclass(frozen=True)
class Reproduction:
    """What was computed and written. An Earwitness data set has no published `numbers`."""

    out: Path
    sources: tuple[str, ...]
    numbers: tuple[Finding, ...]
    rows: pd.DataFrame
    """Raw files compared with the published rows of the same calls (`published.row_check`); empty if there are none."""
    tables: dict[str, pd.DataFrame]
    figures: tuple[Drawn, ...]
    not_drawn: tuple[tuple[str, str], ...]
    imported: ImportSummary | None
    files: tuple[Path, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        """The number of published numbers that agree, disagree, and could not be computed."""
        verdicts = [number.agrees for number in self.numbers]
        return {
            "agree": verdicts.count("yes"),
            "disagree": verdicts.count("no"),
            "not computable": len(verdicts) - verdicts.count("yes") - verdicts.count("no"),
        }
