"""What the load's clients and their owner say to each other, as JSON lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoadConfig:
    """The instructions for the clients."""

    load: str
    seed: int
    control: str
    socks: list[Any]
    server: list[Any]
    relays: list[list[str]]
    """Fingerprints of each client's circuit, guard first."""


@dataclass
class Carried:
    """Totals up to `at_ns` (CLOCK_MONOTONIC)."""

    at_ns: int = 0
    bytes: int = 0
    """Bytes of pages and downloads that the clients received."""
    pages: int = 0
    page_s: float = 0.0
    """Total time to fetch these pages."""
    downloads: int = 0
    failed: int = 0
    last_failure: str = ""
