"""The continuous mode: runs blocks of a study on a schedule, with a new data set each day."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from earwitness.archive.stored import StoredCall
from earwitness.errors import EarwitnessError
from earwitness.events import Listener, ignore
from earwitness.study.design import PlannedCall
from earwitness.study.ending import Ending, StopRequest, Why
from earwitness.study.events import TurnFinished
from earwitness.study.file import StudyFile
from earwitness.study.folder import StudyFolder, owned_study
from earwitness.study.journal import Journal
from earwitness.study.lock import STUDY
from earwitness.study.metrics import Metrics
from earwitness.study.model import StopRule as StopRule
from earwitness.study.model import Study
from earwitness.study.runner import Runner
from earwitness.study.slot import Slot

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY_MIN = 24 * 60.0
_SPARE = 1.5
"""A day's plan has more blocks than the schedule, so that a turn that starts late still finds calls."""


def study_of_day(study: Study, day: str) -> Study:
    """The study of one day: named after the day, with orders and relays drawn anew, and enough repeats."""
    blocks = math.ceil(_DAY_MIN / max(study.watch.every_min, 1.0) * study.watch.blocks * _SPARE)
    repeats = max(1, math.ceil(blocks / study.blocks_per_repeat))
    ordinal = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).toordinal()
    return replace(
        study,
        name=f"{study.name[:29]}-{day}",
        seed=(study.seed + ordinal * 1_000_003) % 2**31,
        design=replace(study.design, repeats=repeats),
        stop=StopRule(),
    )


async def watch_once(
    file: StudyFile,
    directory: Path,
    slots: Sequence[Slot],
    stop: StopRequest,
    *,
    day: str,
    on_event: Listener = ignore,
) -> TurnFinished:
    """Measure the day's next `watch.blocks` blocks into its data set.

    Raises EarwitnessError if another watch is active or the disk is full.
    """
    of_day = file.adapted(lambda study: study_of_day(study, day))
    with owned_study(directory / day, of_day) as folder, folder.dataset:
        blocks = _next_blocks(folder)
        calls = [call for block in blocks for call in block]
        ending = await Runner(folder, slots, stop, on_event, calls).run()
        done = sum(_is_done(folder.journal, block) for block in blocks)
    turn = TurnFinished(day, done, ending)
    on_event(turn)
    return turn


async def watch(
    file: StudyFile,
    directory: Path,
    slots: Sequence[Slot],
    stop: StopRequest,
    *,
    on_event: Listener = ignore,
    today: Callable[[], str] = lambda: f"{datetime.now(UTC):%Y-%m-%d}",
) -> Ending:
    """Run turns until the user stops the watch or the network fails (the caller may continue with a new network).

    Turns start `every_min` apart, by the monotonic clock. A turn that takes longer delays the next, which then starts
    at once; missed turns are not made up for. Days are in UTC.
    """
    while True:
        begun_s = time.monotonic()
        turn = await watch_once(file, directory, slots, stop, day=today(), on_event=on_event)
        if turn.ending.why not in (Why.FINISHED, Why.BUDGET, Why.ENOUGH):
            return turn.ending
        remove_old(directory, file.study.watch.keep_days, today())
        rest_s = max(0.0, begun_s + file.study.watch.every_min * 60.0 - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await stop.gently.wait()
        if stop.gently.is_set():
            return Ending(Why.STOPPED, "stopped by the user")


def remember(directory: Path, metrics: Metrics, day: str) -> None:
    """Load today's earlier calls into the metrics, so that shares do not start empty."""
    root = directory / day / "calls"
    if not root.is_dir():
        return
    folders = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime)
    for folder in folders:
        with suppress(EarwitnessError):
            stored = StoredCall(folder)
            metrics.call(stored.rows, stored.rows[0].arm, None)


def remove_old(directory: Path, keep_days: int, day: str) -> list[str]:
    """Remove data sets more than `keep_days` days older than `day` (0: keep all); returns the removed days."""
    if keep_days == 0:
        return []
    oldest = f"{datetime.strptime(day, '%Y-%m-%d').replace(tzinfo=UTC) - timedelta(days=keep_days):%Y-%m-%d}"
    removed = []
    for path in sorted(directory.iterdir()):
        # Only directories that a watch made: named after a day, with a study inside.
        if _DAY.fullmatch(path.name) and path.name < oldest and (path / STUDY).is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
    return removed


def _next_blocks(folder: StudyFolder) -> list[list[PlannedCall]]:
    """The day's first blocks with calls still to be placed."""
    states = {state.position: state.state for state in folder.journal.states()}
    found: dict[str, list[PlannedCall]] = {}
    for call in folder.calls:
        if states[call.position] == "planned":
            if call.block not in found and len(found) == folder.study.watch.blocks:
                break
            found.setdefault(call.block, []).append(call)
    return list(found.values())


def _is_done(journal: Journal, block: Sequence[PlannedCall]) -> bool:
    states = {state.position: state.state for state in journal.states()}
    return all(states[call.position] in ("done", "failed") for call in block)
