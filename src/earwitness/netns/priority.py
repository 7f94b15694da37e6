"""Lowers the priority of processes that share processors with ongoing calls."""

from __future__ import annotations

import os

NICENESS = 15


def lower_priority() -> None:
    """Give this process and its future children a high nice value."""
    os.nice(NICENESS)
