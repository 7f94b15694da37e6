"""Where a study's calls are placed: a pair of ends that carries one call at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.call.plan import CallPlan


class Slot(Protocol):
    """A caller and a callee: in the lab, on two machines, or simulated."""

    name: str
    """For a person; no two slots of a run have the same."""

    async def place(self, plan: CallPlan, call_id: str, dataset: Dataset, off_air: Callable[[], None]) -> StoredCall:
        """Place one call, hear and score it, and store it; it is in the data set when this returns.

        `off_air` is called as soon as the ends are free for the next call, while this one is still scored. A call that
        fails is stored too. Raises EarwitnessError where nothing could be stored. Cancelled, it stores the call as
        interrupted if it had begun, and goes on with the cancellation.
        """
        ...

    async def trouble(self) -> str | None:
        """What is wrong with the network that the calls go over, so that more calls make no sense; None if nothing."""
        ...
