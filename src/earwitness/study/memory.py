"""Memory use of processes that run for days."""

from __future__ import annotations

import pyarrow as pa


def use_little_memory() -> None:
    """Make Arrow return memory at once: its own pools retain it, 60 MiB at 10,000 calls.

    Affects the whole process. A long-running command calls it before it opens a data set.
    """
    pa.set_memory_pool(pa.system_memory_pool())
