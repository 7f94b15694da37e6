"""The registered description of a phone: what the rest of the program needs to know without starting one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # plans are checked without importing what runs phones
    from earwitness.phone.base import Phones


@dataclass(frozen=True)
class CallFolder:
    """The files of a call's phones."""

    folder: Path
    """The call's folder."""
    captures: Mapping[str, Path]
    """The capture of each end, by its phone's user name."""
    wait_s: float
    """How long to wait for media of phones that the user runs by hand, s."""


@dataclass(frozen=True, kw_only=True)
class PhoneKind:
    """A kind of phone, by name."""

    name: str
    summary: str
    build: Callable[[CallFolder], Phones]
    """Makes the factory of one call's phones."""
    by_hand: bool = False
    """Whether the user operates it: it then speaks when the user chooses, with the codec that the user set."""
    at_other_machine: bool = False
    """Whether the answering side on a remote machine can run it."""

    @property
    def usage(self) -> str:
        """Return its name: it has no options."""
        return self.name
