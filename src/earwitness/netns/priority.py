"""Processes that give way on processors that running calls need as well."""

from __future__ import annotations

import os

NICENESS = 15


def stand_back() -> None:
    """Leave the processor to others: a high nice value for this process, and those it starts."""
    os.nice(NICENESS)
