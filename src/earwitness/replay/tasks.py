"""Replays of stored calls as tasks: one direction and one buffer each, in parallel, with results kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from earwitness.events import Listener, ignore
from earwitness.replay.whatif_calls import Direction
from earwitness.replay.whatif_journal import Record, key_of, result_journal, run_resumable

JOURNAL = "journal.jsonl"
"""File with the results, in the folder of a what-if or a blame."""


@dataclass(frozen=True)
class ReplayTask:
    """One direction through one buffer; picklable."""

    heard: Direction
    buffer: str

    def __str__(self) -> str:
        return f"{self.heard.call_id} {self.heard.direction} {self.buffer}"


def replay_all(
    purpose: str,
    tasks: Sequence[ReplayTask],
    work: Callable[[ReplayTask], Record],
    *,
    refused: Callable[[ReplayTask, str], Record],
    folder: Path,
    executor: Executor | None = None,
    on_event: Listener = ignore,
) -> list[Record]:
    """The records of all tasks, in order; those that `folder` keeps from earlier runs are not computed again.

    `purpose` tells the results of different kinds of `work` on one task apart. Others, and errors, as for
    `run_resumable`.
    """
    keyed = [
        (key_of(purpose, task.heard.identity(), task.heard.digest, bool(task.heard.capture), task.buffer), task)
        for task in tasks
    ]
    with result_journal(folder / JOURNAL, {key for key, _ in keyed}) as store:
        return run_resumable(keyed, work, store, refused=refused, executor=executor, on_event=on_event)
