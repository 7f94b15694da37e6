"""What `study run` shows: a bar with rate and time left on a terminal, a line a call elsewhere, records for --json."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.cli.common import print_records, progress, progress_bar

if TYPE_CHECKING:
    from earwitness.study.folder import StudyFolder
    from earwitness.study.runner import Ending, News, Stop

    Running = Callable[[Stop, "_Shown"], Awaitable[Ending]]

INTERRUPTED = 130


def run_study(file: Path, out: Path, *, report: bool, json: bool) -> int:
    """Run a study in the lab, show how it goes, and return the exit code."""

    async def running(stop: Stop, shown: _Shown) -> Ending:
        from earwitness.study.session import run_in_lab

        return await run_in_lab(
            file,
            out,
            stop=stop,
            told=shown.told,
            noted=_noted,
            booting=shown.booting,
            command=tuple(sys.argv),
        )

    return _shown_to_its_end(running, out, report=report, json=json)


def run_study_in_cluster(
    file: Path, out: Path, cluster: str, keys: Path, *, patience_s: float, report: bool, json: bool
) -> int:
    """As `run_study`, between the vantages of a cluster."""

    async def running(stop: Stop, shown: _Shown) -> Ending:
        from earwitness.cluster.session import run_in_cluster

        return await run_in_cluster(
            file,
            out,
            cluster,
            keys,
            stop=stop,
            patience_s=patience_s,
            told=shown.told,
            noted=_noted,
            command=tuple(sys.argv),
        )

    return _shown_to_its_end(running, out, report=report, json=json)


def _shown_to_its_end(running: Running, out: Path, *, report: bool, json: bool) -> int:
    from earwitness.archive.dataset import Dataset
    from earwitness.errors import EarwitnessError
    from earwitness.netns.termination import run
    from earwitness.study.memory import use_little_memory
    from earwitness.study.runner import Why
    from earwitness.study.status import status, status_text

    use_little_memory()
    try:
        ending = run(_stoppable(running, json))
    except asyncio.CancelledError:
        progress.print("stopped before any call; the same command resumes it", markup=False)
        return INTERRUPTED
    try:
        lines = status_text(replace(status(out), last_ending=str(ending.why)))  # its detail is told below, once
    except EarwitnessError:
        if ending.why is not Why.TROUBLE:
            raise
        lines = []  # its folder may be gone, which is what is told below
    for line in lines:
        progress.print(line, markup=False, soft_wrap=True)
    progress.print(f"{ending.why}: {ending.detail}" if ending.detail else str(ending.why), markup=False, soft_wrap=True)
    # Where something is to be mended first, such as a full disk, a report would only fail once more.
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
    from earwitness.study.runner import Stop

    stop = Stop()
    shown = _Shown(json)
    with shown.bar, stopping(stop):
        return await running(stop, shown)


def _noted(note: str) -> None:
    progress.print(note, markup=False, soft_wrap=True)


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP are the user's word to stop, not an exception in the middle of a call."""
    from earwitness.netns.termination import on_word_to_end

    main = asyncio.current_task()

    def ask() -> None:
        stop.ask()
        if not stop.now.is_set():
            progress.print("stopping after the calls on the air; once more: now", markup=False)
        elif main is not None and not stop.busy:
            main.cancel()

    with on_word_to_end(ask):
        yield


class _Shown:
    """The bar, or the lines."""

    def __init__(self, json: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

        self._json = json
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}", markup=False),
        )
        self.bar = progress_bar(*columns)
        self._task = self.bar.add_task("starting", total=None, more="")

    def booting(self, stage: str, fraction: float) -> None:
        """The lab's own progress."""
        self.bar.update(self._task, description=f"lab: {stage} ({fraction:.0%})")
        if not progress.is_terminal:
            progress.print(f"lab: {stage}", markup=False)

    def told(self, folder: StudyFolder, news: News) -> None:
        """Show a call, and how far the study is."""
        from earwitness.study.status import read_status
        from earwitness.study.text import duration

        if news.stage != "stored":
            return
        found = read_status(folder.journal, {"since": ""})
        ended = found.calls - found.open
        left = f", about {duration(found.left_s)} left" if found.left_s else ""
        rate = f"{found.calls_per_hour:.0f} calls an hour{left}" if found.calls_per_hour else ""
        self.bar.update(self._task, total=found.calls, completed=ended, description=folder.study.name, more=rate)
        stored = news.stored
        assert stored is not None
        record = stored.record
        if self._json:
            print_records(row.to_dict() for row in stored.rows)
        plan = news.call.plan
        title = f"{news.call.position} {news.call.arm}, {plan.codec}, {plan.from_place} – {plan.to_place}"
        how = record.outcome_detail or str(record.outcome)
        if any(row.instrument_ok is False for row in stored.rows):
            how += " (this machine's timing was not good enough)"
        if news.again_in_s is not None:
            how += f"; again in {news.again_in_s:.0f} s"
        if not progress.is_terminal or record.outcome != "completed":
            count = f"{ended}/{found.calls} " if not progress.is_terminal else ""
            progress.print(
                f"{count}{title}: {how}" + (f" [{rate}]" if count and rate else ""), markup=False, soft_wrap=True
            )
