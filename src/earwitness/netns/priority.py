"""Processes that stand back on processors that calls on the air need too."""

from __future__ import annotations

import os

NICENESS = 15


def stand_back() -> None:
    """Leave the processor to others: a high nice value for this process, and those it starts."""
    os.nice(NICENESS)
