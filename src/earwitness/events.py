"""One stream of typed events for everything that takes time. The terminal, JSON output and metrics listen to it.

A function that takes time has a parameter `on_event: Listener`. A listener selects events by type and ignores the
rest, so a new type breaks no listener. Higher packages define their own types (for example `earwitness.study.events`).
A listener is called in the thread that reports the event, and should not block. `str` of each event defined here is
one line, so `print` is a listener too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class StageReached(Event):
    """Work in stages, such as starting a lab, has reached a new stage."""

    stage: str
    """What is being done now, in words."""
    fraction: float | None = None
    """Fraction of the work that is done, 0 to 1; None if unknown."""

    def __str__(self) -> str:
        return self.stage if self.fraction is None else f"{self.stage} ({self.fraction:.0%})"


@dataclass(frozen=True)
class CallStageReached(Event):
    """One of several calls has reached a stage."""

    call_id: str
    call: str
    """The call in words: path, codec, places."""
    stage: str

    def __str__(self) -> str:
        return f"{self.call}: {self.stage}"


@dataclass(frozen=True)
class InstructionsGiven(Event):
    """The user must act before the work can continue."""

    text: str
    """Several lines."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` pieces of work are done."""

    done: int
    total: int
    what: str = ""
    """The piece finished last; empty before the first."""

    def __str__(self) -> str:
        return f"{self.done} of {self.total}" + (f": {self.what}" if self.what else "")


@dataclass(frozen=True)
class Notice(Event):
    """A fact worth a line in the log."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class WarningGiven(Event):
    """Something is wrong, but the work continues."""

    text: str

    def __str__(self) -> str:
        return self.text


Listener = Callable[[Event], None]
"""Called with each event."""


def ignore(event: Event) -> None:
    """Ignore the event."""


def to_all(*listeners: Listener) -> Listener:
    """A listener that passes each event to all of these, in order."""

    def pass_on(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return pass_on


def of_call(on_event: Listener, call_id: str, call: str) -> Listener:
    """A listener for one call of several: adds the call's name to its stages, and passes other events on unchanged."""

    def named(event: Event) -> None:
        on_event(CallStageReached(call_id, call, event.stage) if isinstance(event, StageReached) else event)

    return named
