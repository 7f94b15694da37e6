"""Why and how a run of a study ends, and the user's request to end it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"
    """Every call is done or failed."""
    ENOUGH = "enough"
    """The stopping rule says so."""
    BUDGET = "budget"
    """What may be put on the network is used up."""
    STOPPED = "stopped"
    """The user stopped it."""
    NETWORK = "network"
    """The network that the calls go over is not well; with another one the study can go on."""
    TROUBLE = "trouble"
    """Nothing more can be measured until something is mended."""


@dataclass(frozen=True)
class Ending:
    """How a run ended; `completed` counts the calls that it completed itself."""

    why: Why
    detail: str = ""
    completed: int = 0
    attempts: int = 0


class StopRequest:
    """The user's request to stop: `gently` ends after the running calls, `now` stores them as interrupted."""

    def __init__(self) -> None:
        self.gently = asyncio.Event()
        self.now = asyncio.Event()
        self.busy = False
        """Whether a runner listens; before that there is nothing to end gently."""

    def ask(self) -> None:
        """Stop gently; asked again, now."""
        (self.now if self.gently.is_set() else self.gently).set()
