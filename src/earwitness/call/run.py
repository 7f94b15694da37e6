"""Several calls, placed one after the other, each scored while the next is placed; the demo's plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.call.evaluate import ready
from earwitness.call.measure import new_call_id, run_call
from earwitness.call.network import Network
from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError
from earwitness.events import Listener, ignore, of_call
from earwitness.netns.workers import scoring_pool


def demo_plans(seed: int = 1) -> list[CallPlan]:
    """The six calls of the demo: direct, Tor with 3 hops and with 2, each with G.711 and Opus.

    The two calls that are compared over a path follow each other, and all use the same speech.
    """
    paths = [CallPlan(path="direct", seed=seed), CallPlan(path="tor", hops=3, seed=seed), CallPlan(hops=2, seed=seed)]
    return [replace(plan, codec=codec) for plan in paths for codec in ("g711u", "opus:24000")]


async def run_calls(
    plans: Sequence[CallPlan],
    network: Network,
    dataset: Dataset,
    *,
    command: tuple[str, ...] = (),
    on_event: Listener = ignore,
) -> AsyncGenerator[tuple[str, StoredCall | EarwitnessError]]:
    """Place the calls in order; yields (call id, stored call) as each is scored.

    While one call is scored the next is on the air. For a call that could not be stored its error is yielded, and the
    other calls continue.
    """
    line = asyncio.Lock()
    with scoring_pool() as executor:
        executor.submit(ready)  # the worker starts while the first path opens
        tasks: dict[asyncio.Task[StoredCall], str] = {}
        for plan in plans:
            call_id = new_call_id(plan)
            task = asyncio.create_task(
                run_call(
                    plan,
                    network,
                    dataset,
                    executor=executor,
                    line=line,
                    command=command,
                    on_event=of_call(on_event, call_id, plan.title),
                    call_id=call_id,
                )
            )
            tasks[task] = call_id
        try:
            waiting = set(tasks)
            while waiting:
                finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(finished, key=list(tasks).index):
                    error = task.exception()
                    if error is None:
                        yield tasks[task], task.result()
                    elif isinstance(error, EarwitnessError):
                        yield tasks[task], error
                    else:
                        raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
