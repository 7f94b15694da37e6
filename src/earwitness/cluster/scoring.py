"""A placed call heard and scored wherever there is room, from its captures to its record."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from distributed import Client

from earwitness.archive.record import CallRecord
from earwitness.call.evaluate import evaluate
from earwitness.call.live import LiveCall
from earwitness.cluster.dask import SCORING
from earwitness.cluster.orders import Placed
from earwitness.cluster.parcel import Files, pack, unpack

Evaluated = tuple[CallRecord, Files]

SCORED_WITHIN_S = 900.0
"""A call that no worker has scored by then is scored here."""


def evaluate_parcel(live: LiveCall, files: Files) -> Evaluated:
    """Runs at a scorer: what `evaluate` does in a folder, from files to files."""
    with tempfile.TemporaryDirectory(prefix="earwitness-scoring-") as name:
        folder = Path(name) / live.call_id
        folder.mkdir()
        unpack(files, folder)
        record = evaluate(live, folder)
        return record, pack(folder)


async def scored(client: Client, placed: Placed, scorers: int) -> Evaluated:
    """The call's record and all its files. Where no worker can do it, this process does: nothing is timed here."""
    if scorers:
        task = client.submit(
            evaluate_parcel,
            placed.live,
            placed.files,
            resources={SCORING: 1},
            pure=False,
            key=f"score-{placed.live.call_id}",
        )
        try:
            async with asyncio.timeout(SCORED_WITHIN_S):
                evaluated: Evaluated = await task
            return evaluated
        except Exception:  # whatever became of the workers: it has no bearing on the call
            task.release()
    return await asyncio.to_thread(evaluate_parcel, placed.live, placed.files)
