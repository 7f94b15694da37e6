"""How and why a run of a study ends, and the user's request to stop it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"
    """Every call is done or failed."""
    ENOUGH = "enough"
    """The stopping rule is met."""
    BUDGET = "budget"
    """The budget for the network is used up."""
    STOPPED = "stopped"
    """The user stopped it."""
    NETWORK = "network"
    """The network that carries the calls has failed; the study can continue over another one."""
    TROUBLE = "trouble"
    """No more calls can be measured until the user fixes a problem."""


@dataclass(frozen=True)
class Ending:
    """How a run ended; `completed` is the number of calls completed in this run."""

    why: Why
    detail: str = ""
    completed: int = 0
    attempts: int = 0


class StopRequest:
    """The user's request to stop: `gently` finishes the running calls, `now` stores them as interrupted."""

    def __init__(self) -> None:
        self.gently = asyncio.Event()
        self.now = asyncio.Event()
        self.busy = False
        """Whether a runner is listening; before that there is nothing to finish."""

    def ask(self) -> None:
        """Stop gently; on the second request, at once."""
        (self.now if self.gently.is_set() else self.gently).set()
