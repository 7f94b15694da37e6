"""The process that runs a lab for a notebook: a request on its standard input, events on its standard output.

    python -m earwitness.api.lab_process OWNER < request.json

A lab needs its own namespaces, which a process can enter only while it is single-threaded; a notebook has many threads
and a running event loop. So this process is started for each request and re-executes itself inside a sandbox or a
running lab. When it is interrupted or its owner (a process id) is gone, it stores its measurements and shuts down
cleanly.

The request names the calls (`{"calls": [plan, ...]}`) or the study (`{"study": file}`), the data set (`out`) and the
`command` to record. Each line of output is a JSON object: `{"event": type, "fields": {...}}` for an event of
`earwitness.events`, `{"call_id": id}` when a call is stored, `{"unstored": error}` for a call that could not be stored,
`{"error": error}` for a fatal error, and for a study `{"ending": [why, detail]}`. An error is
`[kind, tried, on, happened, remedy]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.archive.storing import FolderGone
from earwitness.call.lab_needs import lab_plan_for
from earwitness.call.lab_network import LabNetwork
from earwitness.call.plan import CallPlan
from earwitness.call.run import run_calls
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import CallStageReached, Event, Notice, Progress, StageReached, WarningGiven
from earwitness.lab.plan import LabPlan
from earwitness.lab.session import lab_for, rerun_in_lab
from earwitness.netns import syscalls, termination
from earwitness.netns.sandbox import in_sandbox
from earwitness.study.ending import Ending, StopRequest
from earwitness.study.events import CallFinished, StudyOpened
from earwitness.study.file import StudyFile, read_study_file
from earwitness.study.folder import StudyFolder
from earwitness.study.memory import use_little_memory
from earwitness.study.session import lab_plan_of, run_in_lab


def main() -> int:
    """Serve the request; the exit code tells only whether the process was asked to end."""
    termination.handle_termination_signals()
    if not in_sandbox():
        syscalls.die_with_parent(signal.SIGTERM)
        if os.getppid() != int(sys.argv[1]):
            return 1
    try:
        request = json.load(sys.stdin)
        os.lseek(sys.stdin.fileno(), 0, os.SEEK_SET)  # the re-executed process reads the same file
        return _run_study(request) if "study" in request else _place_calls(request)
    except EarwitnessError as error:
        _emit(error=_plain(error))
        return error.exit_code
    except KeyboardInterrupt:
        return termination.exit_code()


def _place_calls(request: Mapping[str, Any]) -> int:
    plans = [CallPlan.from_dict(plan) for plan in request["calls"]]
    lab_plan = lab_plan_for(plans)
    if not in_sandbox():
        return rerun_in_lab(lab_plan, own=any(plan.inject is not None and plan.inject.kills_a_relay for plan in plans))
    termination.run(_calls(plans, lab_plan, Path(request["out"]), tuple(request["command"])))
    return 0


async def _calls(plans: list[CallPlan], lab_plan: LabPlan, out: Path, command: tuple[str, ...]) -> None:
    with Dataset.open_or_create(out) as dataset:
        async with lab_for(lab_plan, _pass_on) as lab:
            running = run_calls(plans, LabNetwork(lab), dataset, command=command, on_event=_pass_on)
            async with contextlib.aclosing(running):
                async for call_id, ended in running:
                    if isinstance(ended, StoredCall):
                        _emit(call_id=call_id)
                        continue
                    _emit(unstored=_plain(ended))
                    if isinstance(ended, FolderGone):
                        break  # every further call would fail too


def _run_study(request: Mapping[str, Any]) -> int:
    file = read_study_file(Path(request["study"]))
    if not in_sandbox():
        return rerun_in_lab(lab_plan_of(file.study))
    use_little_memory()
    try:
        ending = termination.run(_study(file, Path(request["out"]), tuple(request["command"])))
    except asyncio.CancelledError:  # stopped before the first call
        return termination.exit_code()
    _emit(ending=[str(ending.why), ending.detail])
    return 0


async def _study(file: StudyFile, out: Path, command: tuple[str, ...]) -> Ending:
    """Run the study. The first stop request lets calls in progress finish; the second stores them as interrupted."""
    stop, this = StopRequest(), asyncio.current_task()
    folder: StudyFolder | None = None

    def ask() -> None:
        stop.ask()
        if stop.now.is_set() and not stop.busy and this is not None:
            this.cancel()

    def on_event(event: Event) -> None:
        nonlocal folder
        if isinstance(event, StudyOpened):
            folder = event.folder
        elif isinstance(event, CallFinished) and folder is not None:
            states = folder.journal.states()
            done = sum(state.state in ("done", "failed") for state in states)
            how = event.stored.record.outcome_detail or str(event.stored.record.outcome)
            _pass_on(Progress(done, len(states), f"{event.call.arm}, {event.call.plan.codec}: {how}"))
        else:
            _pass_on(event)

    with termination.on_termination_request(ask):
        return await run_in_lab(file, out, stop=stop, on_event=on_event, command=command)


def _pass_on(event: Event) -> None:
    if isinstance(event, StageReached | CallStageReached | Notice | Progress | WarningGiven):
        _emit(event=type(event).__name__, fields=dataclasses.asdict(event))


def _plain(error: EarwitnessError) -> list[str]:
    kind = "input" if isinstance(error, InputError) else ""
    return [kind, error.tried, error.on, error.happened, error.remedy]


def _emit(**event: Any) -> None:
    """Write one event; ignore a closed pipe, as the reader has gone."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
