"""What a benchmark returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measured figure against its bar."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    at_most: bool = True
    """Whether the bar is an upper limit (True) or a lower one."""
    note: str = ""

    @property
    def held(self) -> bool:
        """Whether the bar holds; a figure without a bar always does."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.at_most else self.value >= self.bar
