"""What happens in a study, as events (`earwitness.events`)."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.archive.stored import StoredCall
from earwitness.events import Event
from earwitness.study.design import PlannedCall
from earwitness.study.ending import Ending
from earwitness.study.folder import StudyFolder


@dataclass(frozen=True)
class StudyOpened(Event):
    """A study's folder is open, and its calls are about to be placed."""

    folder: StudyFolder


@dataclass(frozen=True)
class CallEvent(Event):
    """Something that happened to an attempt at a call."""

    call: PlannedCall
    attempt: int


@dataclass(frozen=True)
class CallPlaced(CallEvent):
    """The attempt begins."""


@dataclass(frozen=True)
class CallOffAir(CallEvent):
    """Its ends are free for the next call; it is still scored."""


@dataclass(frozen=True)
class CallFinished(CallEvent):
    """It is in the data set, however it ended."""

    stored: StoredCall
    again_in_s: float | None = None
    """Seconds until it is placed again; None where it is not."""


@dataclass(frozen=True)
class CallLost(CallEvent):
    """The attempt left nothing that could be stored."""


@dataclass(frozen=True)
class TurnFinished(Event):
    """One turn of a watch's schedule has ended."""

    day: str
    blocks: int
    """How many were finished."""
    ending: Ending
