"""The output of `study run`: a bar with rate and time left on a terminal, else a line per call; records for --json."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.cli.common import print_records, progress, progress_bar
from earwitness.events import Event, Notice, StageReached, WarningGiven

if TYPE_CHECKING:
    from earwitness.study.ending import Ending, StopRequest
    from earwitness.study.events import CallFinished
    from earwitness.study.file import StudyFile
    from earwitness.study.folder import StudyFolder

    Running = Callable[[StopRequest, "_Shown"], Awaitable[Ending]]

INTERRUPTED = 130


def run_study(file: StudyFile, out: Path, *, report: bool, json: bool) -> int:
    """Run a study in the lab, show its progress, and return the exit code."""

    async def running(stop: StopRequest, shown: _Shown) -> Ending:
        from earwitness.study.session import run_in_lab

        return await run_in_lab(
            file,
            out,
            stop=stop,
            on_event=shown.on_event,
            command=tuple(sys.argv),
        )

    return _shown_to_its_end(running, out, report=report, json=json)


def run_study_in_cluster(
    file: StudyFile, out: Path, cluster: str, keys: Path, *, patience_s: float, report: bool, json: bool
) -> int:
    """Like `run_study`, between the vantages of a cluster."""

    async def running(stop: StopRequest, shown: _Shown) -> Ending:
        from earwitness.cluster.session import run_in_cluster

        return await run_in_cluster(
            file,
            out,
            cluster,
            keys,
            stop=stop,
            patience_s=patience_s,
            on_event=shown.on_event,
            command=tuple(sys.argv),
        )

    return _shown_to_its_end(running, out, report=report, json=json)


def _shown_to_its_end(running: Running, out: Path, *, report: bool, json: bool) -> int:
    from earwitness.archive.dataset import Dataset
    from earwitness.errors import EarwitnessError
    from earwitness.netns.termination import run
    from earwitness.report.html import write_report
    from earwitness.study.ending import Why
    from earwitness.study.memory import use_little_memory
    from earwitness.study.status import status, status_text

    use_little_memory()
    try:
        ending = run(_stoppable(running, json))
    except asyncio.CancelledError:
        progress.print("stopped before any call; the same command resumes it", markup=False)
        return INTERRUPTED
    try:
        lines = status_text(replace(status(out), last_ending=str(ending.why)))  # its detail is shown once, below
    except EarwitnessError:
        if ending.why is not Why.TROUBLE:
            raise
        lines = []  # its folder may be gone, which is reported below
    for line in lines:
        progress.print(line, markup=False, soft_wrap=True)
    progress.print(f"{ending.why}: {ending.detail}" if ending.detail else str(ending.why), markup=False, soft_wrap=True)
    # If something has to be fixed first, such as a full disk, a report would only fail again.
    if report and ending.why is not Why.TROUBLE and len(Dataset.open(out)):
        from earwitness.report.html import write_report

        try:
            progress.print(f"report: {write_report(out).resolve()}", markup=False, soft_wrap=True)
        except EarwitnessError as error:
            progress.print(f"no report: {error}", markup=False, soft_wrap=True)
    if ending.why is Why.STOPPED:
        progress.print("the same command resumes it", markup=False)
        return INTERRUPTED
    return 1 if ending.why in (Why.TROUBLE, Why.NETWORK) else 0


async def _stoppable(running: Running, json: bool) -> Ending:
    from earwitness.study.ending import StopRequest

    stop = StopRequest()
    shown = _Shown(json)
    with shown.bar, stopping(stop):
        return await running(stop, shown)


@contextmanager
def stopping(stop: StopRequest) -> Iterator[None]:
    """Make Ctrl-C, SIGTERM and SIGHUP request a stop, rather than raise an exception in the middle of a call."""
    from earwitness.netns.termination import on_termination_request

    main = asyncio.current_task()

    def ask() -> None:
        stop.ask()
        if not stop.now.is_set():
            progress.print("stopping after the running calls; press Ctrl-C again to stop at once", markup=False)
        elif main is not None and not stop.busy:
            main.cancel()

    with on_termination_request(ask):
        yield


class _Shown:
    """The bar, or the lines."""

    def __init__(self, json: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

        self._json = json
        self._folder: StudyFolder | None = None
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}", markup=False),
        )
        self.bar = progress_bar(*columns)
        self._task = self.bar.add_task("starting", total=None, more="")

    def on_event(self, event: Event) -> None:
        """Show the lab's stages, notices, and each finished call with the study's progress."""
        from earwitness.study.events import CallFinished, StudyOpened

        match event:
            case StageReached(stage, fraction):
                share = "" if fraction is None else f" ({fraction:.0%})"
                self.bar.update(self._task, description=f"lab: {stage}{share}")
                if not progress.is_terminal:
                    progress.print(f"lab: {stage}", markup=False)
            case StudyOpened(folder):
                self._folder = folder
            case Notice(text) | WarningGiven(text):
                progress.print(text, markup=False, soft_wrap=True)
            case CallFinished() if self._folder is not None:
                self._call(self._folder, event)

    def _call(self, folder: StudyFolder, finished: CallFinished) -> None:
        from earwitness.study.status import read_status
        from earwitness.study.text import duration

        found = read_status(folder.journal, {"since": ""})
        ended = found.calls - found.open
        left = f", about {duration(found.left_s)} left" if found.left_s else ""
        rate = f"{found.calls_per_hour:.0f} calls an hour{left}" if found.calls_per_hour else ""
        self.bar.update(self._task, total=found.calls, completed=ended, description=folder.study.name, more=rate)
        stored, call = finished.stored, finished.call
        record = stored.record
        if self._json:
            print_records(row.to_dict() for row in stored.rows)
        plan = call.plan
        title = f"{call.position} {call.arm}, {plan.codec}, {plan.from_place} – {plan.to_place}"
        how = record.outcome_detail or str(record.outcome)
        if any(row.instrument_ok is False for row in stored.rows):
            how += " (this machine's timing was not good enough)"
        if finished.again_in_s is not None:
            how += f"; again in {finished.again_in_s:.0f} s"
        if not progress.is_terminal or record.outcome != "completed":
            count = f"{ended}/{found.calls} " if not progress.is_terminal else ""
            progress.print(
                f"{count}{title}: {how}" + (f" [{rate}]" if count and rate else ""), markup=False, soft_wrap=True
            )
