"""The slot protocol: a pair of ends that carries one call of a study at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.call.plan import CallPlan


class Slot(Protocol):
    """A caller and a callee: in the lab, on two machines, or simulated."""

    name: str
    """Its name for users, unique in a run."""

    async def place(self, plan: CallPlan, call_id: str, dataset: Dataset, off_air: Callable[[], None]) -> StoredCall:
        """Place, score and store one call; it is in the data set on return.

        `off_air` is called as soon as the ends are free for the next call, while this one is still being scored. A
        failed call is stored too. Raises EarwitnessError if nothing could be stored. On cancellation, a call that had
        begun is stored as interrupted before the cancellation propagates.
        """
        ...

    async def trouble(self) -> str | None:
        """Why the network can carry no more calls; None if it can."""
        ...
