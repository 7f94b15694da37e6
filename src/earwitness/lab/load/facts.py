"""Facts about background traffic during a call, for its record."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.facts import LABEL, sparse


@dataclass(frozen=True, kw_only=True)
class LoadFacts:
    """The lab's background traffic during the call; if there was none, only `load` is set."""

    load: str | None = sparse("Load as given to `--load`, or none", longest=LABEL)
    seed: int | None = sparse("Seed of its circuits, pages and pauses")
    clients: int | None = sparse("Number of clients")
    relay_mbit: float | None = sparse("Rate limit of each relay in Mbit/s; absent: no limit", (0.0, 1e12))
    seconds: float | None = sparse("Time that the following values cover, in seconds", (0.0, 1e12))
    bytes: int | None = sparse("Bytes that the clients received")
    mbit_s: float | None = sparse("Rate at which the clients received data, in Mbit/s", (0.0, 1e12))
    pages: int | None = sparse("Pages fetched completely")
    page_mean_s: float | None = sparse("Mean time to fetch a page, in seconds", (0.0, 1e12))
    downloads: int | None = sparse("Downloads completed")
    failed: int | None = sparse("Fetches that failed")
    last_failure: str | None = sparse("Reason for the last failure")
