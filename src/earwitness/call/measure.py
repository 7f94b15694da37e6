"""One measured call, start to finish: place it, hear it, score it, store it."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path

from earwitness.archive import layout
from earwitness.archive.dataset import Dataset
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.stored import StoredCall
from earwitness.archive.storing import storing
from earwitness.call.builder import CallBuilder
from earwitness.call.compose import unheard
from earwitness.call.evaluate import evaluate
from earwitness.call.network import Network
from earwitness.call.place import attempt_call
from earwitness.call.placed_call import PlacedCall
from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError, Outcome
from earwitness.events import Listener, StageReached, ignore

SCORING = "hearing and scoring"
"""Stage of a call that has hung up; its two ends are free for the next call."""


async def run_call(
    plan: CallPlan,
    network: Network,
    dataset: Dataset,
    *,
    executor: Executor | None = None,
    line: asyncio.Lock | None = None,
    command: tuple[str, ...] = (),
    on_event: Listener = ignore,
    call_id: str | None = None,
) -> StoredCall:
    """Place one call and store everything known about it; it is in the data set when this returns.

    `executor` runs hearing and scoring (None: in this process). `line` is held while the call is on the air, so that
    one of several calls speaks while others are scored. A failed call is stored too, with its outcome; so is a
    cancelled one, before the cancellation propagates. Raises `CallFailure` (`STORAGE_FAILED`) if it cannot be stored.
    """
    call_id = call_id or new_call_id(plan)
    builder = CallBuilder(call_id, plan, network.name, command)
    with dataset.new_call(call_id) as folder, storing(folder):
        cancelled: asyncio.CancelledError | None = None
        try:
            async with line or asyncio.Lock():
                dataset.check_there()  # rather than after minutes on the air
                placed = await attempt_call(plan, network, folder, builder, on_event)
                if builder.started_monotonic_ns and network.lab_facts is not None:
                    network.lab_facts.write_truth(builder.started_monotonic_ns, folder / layout.TRUTH)
        except asyncio.CancelledError as stop:
            if not builder.record.started_at:
                raise  # the call had not started, so there is nothing to store
            cancelled = stop
            placed = interrupted(builder)
        on_event(StageReached(SCORING))
        record = await evaluated(placed, folder, None if cancelled else executor)
        write_record(folder, record)
    if cancelled is not None:
        raise cancelled
    return dataset.call(call_id)


def interrupted(builder: CallBuilder) -> PlacedCall:
    """A cancelled call, with what was known by then."""
    happened = EarwitnessError("placing the call", builder.plan.title, "it was interrupted", "place it again")
    return builder.placed(Outcome.INTERRUPTED, happened)


def new_call_id(plan: CallPlan) -> str:
    """A unique, readable name for a call."""
    hops = str(plan.hops) if plan.chooses_relays else ""
    return f"{plan.path_kind.name}{hops}-{plan.codec.partition(':')[0]}-{secrets.token_hex(4)}"


async def evaluated(placed: PlacedCall, folder: Path, executor: Executor | None) -> CallRecord:
    """Hear and score, in the executor if there is one, so that the next call is not disturbed.

    An internal error here does not lose the measurements: the call is then stored as failed, with its captures.
    """
    try:
        if executor is None:
            return evaluate(placed, folder)
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, evaluate, placed, folder)
        except BrokenExecutor as broken:  # a scorer was killed, usually by the kernel for lack of memory
            note = f"scored in the process that places calls, because the scoring process ended ({broken})"
            return await asyncio.to_thread(evaluate, placed.with_note(note), folder)
    except OSError:
        raise  # the folder cannot be written: `storing` reports it
    except Exception as fault:
        return unheard(placed, fault)
