"""What the lab's relays carried besides a call, for its record."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.facts import LABEL, sparse


@dataclass(frozen=True, kw_only=True)
class LoadFacts:
    """Background traffic of the lab while the call had its turn; where there was none, only `load`."""

    load: str | None = sparse("As `--load` has it; none", longest=LABEL)
    seed: int | None = sparse("Seed of its circuits, pages and pauses")
    clients: int | None = sparse("Clients")
    relay_mbit: float | None = sparse("Bound on each relay's rate, Mbit/s; without: none", (0.0, 1e12))
    seconds: float | None = sparse("Time that the following is of", (0.0, 1e12))
    bytes: int | None = sparse("Bytes that the clients received")
    mbit_s: float | None = sparse("Mbit/s that the clients received", (0.0, 1e12))
    pages: int | None = sparse("Pages that were fetched whole")
    page_mean_s: float | None = sparse("Mean time to fetch one", (0.0, 1e12))
    downloads: int | None = sparse("Downloads that ended")
    failed: int | None = sparse("Fetches that failed")
    last_failure: str | None = sparse("Why the last of them failed")
