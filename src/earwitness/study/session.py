"""Runs a study in the lab, and restarts the lab if it fails during the study."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from earwitness.call.lab_needs import lab_plan_for
from earwitness.errors import EarwitnessError
from earwitness.events import Listener, Notice, WarningGiven, ignore
from earwitness.lab.lab import LAB_FILE
from earwitness.lab.plan import LabPlan
from earwitness.lab.session import lab_for
from earwitness.netns.workers import scoring_pool
from earwitness.study.design import design
from earwitness.study.ending import Ending, StopRequest, Why
from earwitness.study.events import StudyOpened
from earwitness.study.file import StudyFile
from earwitness.study.folder import StudyFolder, owned_study
from earwitness.study.lab_slots import lab_slots
from earwitness.study.model import Study
from earwitness.study.runner import Runner

_BARREN_LABS = 2
"""Number of consecutive labs that failed without one completed call, after which the study stops."""


def lab_plan_of(study: Study) -> LabPlan:
    """The lab that the study's calls need, with a pair of ends for each concurrent call."""
    return lab_plan_for(
        [call.plan for call in design(study)[: study.blocks_per_repeat * study.calls_per_block]], study.run.at_once
    )


@contextlib.contextmanager
def ending_noted(folder: StudyFolder) -> Iterator[None]:
    """Record the end of a run that never reached its runner: no network came up, or the user stopped it."""
    try:
        yield
    except EarwitnessError as error:
        folder.journal.end_run(f"{Why.NETWORK}: {error}")
        raise
    except asyncio.CancelledError:
        folder.journal.end_run(Why.STOPPED)
        raise


async def run_in_lab(
    file: StudyFile,
    directory: Path,
    *,
    stop: StopRequest,
    on_event: Listener = ignore,
    command: tuple[str, ...] = (),
) -> Ending:
    """Run or resume a study in the lab. To be called inside a sandbox (`earwitness.lab.session`).

    `on_event` receives every call, the lab's stages, and repairs to the journal. A lab that fails is restarted and its
    call retried, as long as each lab completes at least one call.

    Raises:
        InputError: the directory holds another study.
        EarwitnessError: another run is active in it, or the lab does not come up.
    """
    study = file.study
    with owned_study(directory, file) as folder, folder.dataset:
        on_event(StudyOpened(folder))
        for note in folder.notes:
            on_event(Notice(note))
        if all(state.state in ("done", "failed") for state in folder.journal.states()):
            folder.journal.end_run(Why.FINISHED)
            return Ending(Why.FINISHED)
        plan = lab_plan_of(study)
        completed = attempts = barren = 0
        while True:
            kept = LAB_FILE.exists()
            with ending_noted(folder), scoring_pool(max(1, (os.cpu_count() or 2) // 2)) as executor:
                async with lab_for(plan, on_event) as lab:
                    slots = lab_slots(lab, executor, command)[: study.run.at_once]
                    runner = Runner(folder, slots, stop, on_event)
                    ending = await runner.run()
            completed, attempts = completed + ending.completed, attempts + ending.attempts
            barren = 0 if ending.completed else barren + 1
            if ending.why is not Why.NETWORK or kept or barren >= _BARREN_LABS or stop.gently.is_set():
                return Ending(ending.why, ending.detail, completed, attempts)
            on_event(WarningGiven(f"{ending.detail}; restarting the lab"))
