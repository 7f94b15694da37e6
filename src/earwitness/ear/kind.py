"""What is registered of a jitter buffer, and what one is that knows the future."""

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
    """The playing of a whole trace, planned before it begins."""

    begin_ns: int
    """The first tick of its clock."""


@runtime_checkable
class Foreseeing(Protocol):
    """A buffer that knows the whole trace in advance, and goes by its RTP timestamps alone: a bound, no phone."""

    def foresee(self, trace: Trace, frames: Frames, quiet: Sequence[bool]) -> Plan:
        """Plan the playing of a whole trace, of which at least one packet arrived."""
        ...


@dataclass(frozen=True, kw_only=True)
class BufferKind:
    """What is registered of a kind of jitter buffer: everything that the rest of the program needs to know of it."""

    name: str
    """As on the command line: `fixed`."""
    summary: str
    usage: str
    """With its options: `fixed:MS (0 to 10000)`."""
    make: Callable[[str, str], JitterBuffer]
    """The buffer that a specification (first argument) asks for with these options (second, what follows the colon).
    Raises `InputError`."""
    look: Look


def milliseconds(spec: str, text: str, usage: str) -> float:
    """The number of a specification such as `fixed:60`. Raises `InputError`."""
    try:
        return float(text)
    except ValueError:
        happened = f"{text!r} is not a number of milliseconds"
        raise InputError("using the jitter buffer", repr(spec), happened, f"use {usage}") from None
