"""`earwitness study status`: a study's progress, from its journal alone, also while the study runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from earwitness.study.journal import Journal
from earwitness.study.journal_file import now
from earwitness.study.lock import JOURNAL, STUDY, running_since
from earwitness.study.text import duration

_RECENT = 40
"""Number of recent attempts that the rate is computed from, so that it reflects the present."""


@dataclass(frozen=True)
class ArmStatus:
    """One of the compared paths."""

    arm: str
    planned: int
    running: int
    done: int
    failed: int
    marked: int
    """Done, but the instrument check failed."""
    attempts: int


@dataclass(frozen=True)
class Status:
    """The state of a study according to its journal."""

    study: str
    calls: int
    arms: tuple[ArmStatus, ...]
    attempts: int
    lost: int
    """Attempts that were not stored."""
    outcomes: Mapping[str, int]
    """Number of attempts by outcome."""
    calls_per_hour: float | None
    left_s: float | None
    running_since: str
    """Empty if no run is active."""
    last_ending: str
    tor_mib: float

    @property
    def open(self) -> int:
        """Number of calls that are neither done nor failed."""
        return sum(arm.planned + arm.running for arm in self.arms)

    def to_dict(self) -> dict[str, Any]:
        """The status as one JSON record."""
        return {**asdict(self), "open": self.open}


def status(directory: Path) -> Status:
    """The status of the study in this directory. Raises InputError if there is none."""
    owner = running_since(directory)
    with Journal.open(directory / STUDY / JOURNAL, read_only=True) as journal:
        return read_status(journal, owner)


def read_status(journal: Journal, owner: Mapping[str, Any] | None) -> Status:
    """Like `status`, for an open journal."""
    arms = [
        ArmStatus(*row)
        for row in journal.rows(
            "SELECT arm, sum(state = 'planned'), sum(state = 'running'), sum(state = 'done'), sum(state = 'failed'),"
            " sum(state = 'done' AND instrument_ok = 0), sum(attempts) FROM calls GROUP BY arm ORDER BY min(position)"
        )
    ]
    outcomes = dict(
        journal.rows("SELECT outcome, count(*) FROM attempts WHERE state = 'ended' GROUP BY outcome ORDER BY 2 DESC")
    )
    ((lost,),) = journal.rows("SELECT count(*) FROM attempts WHERE state = 'lost'")
    ((tor_bytes,),) = journal.rows("SELECT total(tor_bytes) FROM attempts JOIN calls USING (position)")
    endings = journal.rows("SELECT ending FROM runs WHERE ending != '' ORDER BY id DESC LIMIT 1")
    rate = _rate(journal, running=owner is not None)
    left = sum(arm.planned + arm.running for arm in arms)
    return Status(
        study=str(journal.frozen()["name"]),
        calls=sum(arm.planned + arm.running + arm.done + arm.failed for arm in arms),
        arms=tuple(arms),
        attempts=sum(outcomes.values()),
        lost=int(lost),
        outcomes=outcomes,
        calls_per_hour=rate,
        left_s=left / rate * 3600.0 if rate else None,
        running_since=str((owner or {}).get("since", "")) or ("now" if owner is not None else ""),
        last_ending=str(endings[0][0]) if endings else "",
        tor_mib=float(tor_bytes) / 2**20,
    )


def status_text(found: Status) -> list[str]:
    """The status as text."""
    done = sum(arm.done for arm in found.arms)
    failed = sum(arm.failed for arm in found.arms)
    marked = sum(arm.marked for arm in found.arms)
    state = f"running since {found.running_since}" if found.running_since else f"not running ({found.last_ending})"
    if not found.running_since and not found.last_ending:
        state = "not running"
    lines = [
        f"study {found.study}: {done + failed:,} of {found.calls:,} calls ended: {done:,} done, {failed:,} failed;"
        f" {state}",
    ]
    if found.calls_per_hour:
        left = f", about {duration(found.left_s)} left" if found.left_s else ""
        lines.append(f"{found.calls_per_hour:.0f} calls an hour{left}")
    if marked:
        lines.append(f"{marked:,} done calls are marked: this machine's timing was not good enough for them")
    lines += [
        f"  {arm.arm}: {arm.done:,} done, {arm.failed:,} failed, {arm.running:,} running, {arm.planned:,} planned"
        for arm in found.arms
    ]
    ended = ", ".join(f"{count:,} {outcome}" for outcome, count in found.outcomes.items())
    if ended:
        lines.append(f"attempts: {ended}" + (f", {found.lost:,} left nothing" if found.lost else ""))
    if found.tor_mib:
        lines.append(f"put on Tor: about {found.tor_mib:,.0f} MiB of cells")
    return lines


def _rate(journal: Journal, *, running: bool) -> float | None:
    """Recent attempts per hour of wall-clock time; None with fewer than two, or if the clock went backwards."""
    rows = journal.rows(
        "SELECT started_at, ended_at FROM attempts WHERE state = 'ended' AND run = (SELECT max(run) FROM attempts)"
        " ORDER BY id DESC LIMIT ?",
        _RECENT,
    )
    if len(rows) < 2:
        return None
    begun = datetime.fromisoformat(str(rows[-1][0]))
    until = datetime.fromisoformat(now() if running else str(rows[0][1]))
    seconds = (until - begun).total_seconds()
    return len(rows) * 3600.0 / seconds if seconds > 0 else None
