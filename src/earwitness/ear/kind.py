"""The registration record of a jitter buffer, and the interface of buffers that know the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from earwitness.ear.base import JitterBuffer, Playout
from earwitness.ear.frames import Frames
from earwitness.errors import InputError
from earwitness.looks import Look
from earwitness.trace.model import Trace


class Plan(Playout, Protocol):
    """The playing of a whole trace, planned in advance."""

    begin_ns: int
    """First tick of its clock, ns."""


@runtime_checkable
class Foreseeing(Protocol):
    """A buffer that knows the whole trace in advance and uses only its RTP timestamps: a bound, not a phone."""

    def foresee(self, trace: Trace, frames: Frames, quiet: Sequence[bool]) -> Plan:
        """Plan the playing of a whole trace; at least one packet must have arrived."""
        ...


@dataclass(frozen=True, kw_only=True)
class BufferKind:
    """A registered kind of jitter buffer: everything that the rest of the program needs to know about it."""

    name: str
    """Its name on the command line: `fixed`."""
    summary: str
    usage: str
    """Its name with options: `fixed:MS (0 to 10000)`."""
    make: Callable[[str, str], JitterBuffer]
    """Creates the buffer for a specification (first argument) with its options (second argument, the part after the
    colon). Raises `InputError`."""
    look: Look


def milliseconds(spec: str, text: str, usage: str) -> float:
    """The number in a specification, for example `fixed:60`. Raises `InputError`."""
    try:
        return float(text)
    except ValueError:
        happened = f"{text!r} is not a number of milliseconds"
        raise InputError("using the jitter buffer", repr(spec), happened, f"use {usage}") from None
