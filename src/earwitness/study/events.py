"""The events of a study (`earwitness.events`)."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.archive.stored import StoredCall
from earwitness.events import Event
from earwitness.study.design import PlannedCall
from earwitness.study.ending import Ending
from earwitness.study.folder import StudyFolder


@dataclass(frozen=True)
class StudyOpened(Event):
    """The study's folder is open, and its first call is about to be placed."""

    folder: StudyFolder


@dataclass(frozen=True)
class CallEvent(Event):
    """An event of one attempt at a call."""

    call: PlannedCall
    attempt: int


@dataclass(frozen=True)
class CallPlaced(CallEvent):
    """The attempt begins."""


@dataclass(frozen=True)
class CallOffAir(CallEvent):
    """The call is over and its ends are free for the next one; scoring continues."""


@dataclass(frozen=True)
class CallFinished(CallEvent):
    """The attempt is in the data set, whatever its outcome."""

    stored: StoredCall
    again_in_s: float | None = None
    """Seconds until the call is retried; None if it is not."""


@dataclass(frozen=True)
class CallLost(CallEvent):
    """The attempt could not be stored."""


@dataclass(frozen=True)
class TurnFinished(Event):
    """One turn of a watch's schedule has ended."""

    day: str
    blocks: int
    """Number of blocks finished."""
    ending: Ending
