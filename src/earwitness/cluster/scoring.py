"""Hears and scores a placed call wherever there is capacity, from its captures to its record."""

from __future__ import annotations

import asyncio
import secrets

from distributed import Client

from earwitness.archive.record import CallRecord
from earwitness.call.compose import unheard
from earwitness.call.evaluate import evaluate
from earwitness.call.placed_call import PlacedCall
from earwitness.cluster.dask import SCORING
from earwitness.cluster.orders import Placed
from earwitness.cluster.parcel import Files, pack, unpack
from earwitness.netns.scratch import scratch_folder

Evaluated = tuple[CallRecord, Files]

SCORED_WITHIN_S = 900.0
"""A call that no worker has scored within this time is scored here."""


def evaluate_parcel(live: PlacedCall, files: Files) -> Evaluated:
    """Runs on a scorer: like `evaluate` in a folder, from files to files. An internal fault does not lose the call."""
    with scratch_folder("earwitness-scoring-") as scratch:
        folder = scratch / live.record.call_id
        folder.mkdir()
        unpack(files, folder)
        try:
            record = evaluate(live, folder)
        except OSError:
            raise
        except Exception as fault:
            record = unheard(live, fault)
        return record, pack(folder)


async def score_placed(client: Client, placed: Placed, scorers: int) -> Evaluated:
    """The call's record and all its files. If no worker can score it, this process does; scoring is not time-
    critical."""
    live = placed.live
    if scorers:
        key = f"score-{live.record.call_id}-{secrets.token_hex(4)}"
        resources = {SCORING: 1}
        task = None
        try:
            task = client.submit(evaluate_parcel, live, placed.files, resources=resources, pure=False, key=key)
            async with asyncio.timeout(SCORED_WITHIN_S):
                evaluated: Evaluated = await task
            return evaluated
        except Exception as trouble:  # failures of the workers do not affect the call
            if task is not None:
                task.release()
            note = f"scored on the study's own machine because no worker did ({type(trouble).__name__})"
            live = live.with_note(note)
    return await asyncio.to_thread(evaluate_parcel, live, placed.files)
