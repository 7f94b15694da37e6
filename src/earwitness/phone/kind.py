"""What is registered of a phone: everything that the rest of the program needs to know of it without starting one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a plan is checked without what runs phones
    from earwitness.phone.base import Phones


@dataclass(frozen=True)
class CallFolder:
    """Where a call's phones find and leave their files."""

    folder: Path
    """The call's own."""
    captures: Mapping[str, Path]
    """The capture of each end, by the phone's user."""
    wait_s: float
    """How long to wait for media of phones that somebody else runs."""


@dataclass(frozen=True, kw_only=True)
class PhoneKind:
    """A phone by name."""

    name: str
    summary: str
    build: Callable[[CallFolder], Phones]
    """What starts the phones of one call."""
    by_hand: bool = False
    """The user runs it: it speaks when it pleases them, with the codec that they set."""
    at_other_machine: bool = False
    """The answering side of another machine can run it."""

    @property
    def usage(self) -> str:
        """Its name: it has no options."""
        return self.name
