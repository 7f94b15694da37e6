"""What happens in everything that takes time: one stream of typed events; terminal, JSON output and metrics listen.

A function that takes time has a parameter `on_event: Listener`. A listener picks out what it shows by the event's type,
and leaves the rest alone, so that a new type breaks none. Events with types of upper floors are defined there
(`earwitness.study.events`, for one). A listener is called in the thread of whoever reports, and should not block. The
events here read as a line each, so that `print` is a listener too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class StageReached(Event):
    """Work that goes through stages, such as starting a lab, has reached one."""

    stage: str
    """In words: what is being done now."""
    fraction: float | None = None
    """Share of the whole work that is done, 0 to 1; None where nobody knows."""

    def __str__(self) -> str:
        return self.stage if self.fraction is None else f"{self.stage} ({self.fraction:.0%})"


@dataclass(frozen=True)
class CallStageReached(Event):
    """One of several calls has reached a stage."""

    call_id: str
    call: str
    """For a person: path, codec, places."""
    stage: str

    def __str__(self) -> str:
        return f"{self.call}: {self.stage}"


@dataclass(frozen=True)
class InstructionsGiven(Event):
    """A person has to act before the work goes on."""

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
    """The piece that was done last; empty before the first."""

    def __str__(self) -> str:
        return f"{self.done} of {self.total}" + (f": {self.what}" if self.what else "")


@dataclass(frozen=True)
class Notice(Event):
    """A fact worth a line of the log."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class WarningGiven(Event):
    """Something is wrong, and the work goes on all the same."""

    text: str

    def __str__(self) -> str:
        return self.text


Listener = Callable[[Event], None]
"""Called with each event."""


def ignore(event: Event) -> None:
    """Listen to nothing."""


def to_all(*listeners: Listener) -> Listener:
    """A listener that passes each event on to all of these, in order."""

    def pass_on(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return pass_on


def of_call(on_event: Listener, call_id: str, call: str) -> Listener:
    """A listener for one call of several: its stages reach `on_event` under the call's name, other events unchanged."""

    def named(event: Event) -> None:
        on_event(CallStageReached(call_id, call, event.stage) if isinstance(event, StageReached) else event)

    return named
