"""A study's calls in the lab: a slot for each pair of ends; scoring runs in separate processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.call.lab_network import LabNetwork, lab_networks
from earwitness.call.measure import SCORING, run_call
from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError
from earwitness.events import Event, StageReached
from earwitness.lab.health import health
from earwitness.lab.lab import Lab


class LabSlot:
    """A slot for one pair of the lab's ends."""

    def __init__(self, network: LabNetwork, executor: Executor | None, command: tuple[str, ...] = ()) -> None:
        self.name = f"pair {network.pair}"
        self._network = network
        self._executor = executor
        self._command = command

    async def place(self, plan: CallPlan, call_id: str, dataset: Dataset, off_air: Callable[[], None]) -> StoredCall:
        """See `earwitness.study.slot.Slot`."""

        def on_event(event: Event) -> None:
            if event == StageReached(SCORING):
                off_air()

        return await run_call(
            plan,
            self._network,
            dataset,
            executor=self._executor,
            command=self._command,
            on_event=on_event,
            call_id=call_id,
        )

    async def trouble(self) -> str | None:
        """Why the lab can carry no more calls, such as a tor that has ended or an emulator that does not answer."""
        try:
            (await health(self._network.lab)).require_usable()
        except EarwitnessError as error:
            return str(error)
        return None


def lab_slots(lab: Lab, executor: Executor | None, command: tuple[str, ...] = ()) -> list[LabSlot]:
    """A slot for each pair of ends that the lab has."""
    return [LabSlot(network, executor, command) for network in lab_networks(lab)]
