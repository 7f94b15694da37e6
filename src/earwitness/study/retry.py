"""What becomes of a planned call after an attempt at it: done, failed, or again, and when. A function of its past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from earwitness.errors import Outcome
from earwitness.study.model import Retry


class Kind(StrEnum):
    """What an outcome says of whether another attempt makes sense."""

    COMPLETED = "completed"
    NETWORK = "network"
    """The path or the far end: a result of the study. Tried again as a user would."""
    OWN = "own"
    """Trouble of this machine, which says nothing of the path."""
    SETTLED = "settled"
    """Would end the same way again."""
    HALT = "halt"
    """Every call would end so: the study stops until it is mended. Costs no attempt."""
    STOPPED = "stopped"
    """The user stopped it. Costs no attempt."""


_KINDS: dict[Outcome, Kind] = {
    Outcome.COMPLETED: Kind.COMPLETED,
    Outcome.TOOL_MISSING: Kind.HALT,
    Outcome.LAB_FAILED: Kind.HALT,
    Outcome.STORAGE_FAILED: Kind.HALT,
    Outcome.REMOTE_REFUSED: Kind.HALT,
    Outcome.SPEECH_UNUSABLE: Kind.SETTLED,
    Outcome.AUTH_FAILED: Kind.SETTLED,
    Outcome.PORT_TAKEN: Kind.OWN,
    Outcome.CAPTURE_EMPTY: Kind.OWN,
    Outcome.REMOTE_LOST: Kind.OWN,
    Outcome.FAILED: Kind.OWN,
    Outcome.INTERRUPTED: Kind.STOPPED,
}


def kind_of(outcome: Outcome) -> Kind:
    """What an outcome says. All that are not this machine's or the user's doing are the network's, also
    `SCORER_REFUSED`: what arrived could not be scored.
    """
    return _KINDS.get(outcome, Kind.NETWORK)


@dataclass(frozen=True)
class Ended:
    """How one attempt ended."""

    outcome: Outcome
    instrument_ok: bool | None = None


@dataclass(frozen=True)
class Next:
    """What becomes of the call: `done`, `failed`, or `planned` (again, after `wait_s`)."""

    state: str
    wait_s: float = 0.0


def decide(past: Sequence[Ended], retry: Retry) -> Next:
    """What follows from all attempts so far, the last one last.

    A completed call whose instrument was not good enough is repeated while `retry.instrument` permits, then stays as it
    is, marked. A failed one is repeated while its kind's limit permits.
    """
    if not past:
        return Next("planned")
    last = past[-1]
    kind = kind_of(last.outcome)
    if kind is Kind.COMPLETED and last.instrument_ok is not False:
        return Next("done")
    if kind in (Kind.HALT, Kind.STOPPED):
        return Next("planned")
    same = sum(1 for attempt in past if kind_of(attempt.outcome) is kind)
    if kind is Kind.COMPLETED:
        limit = retry.instrument
    else:
        limit = {Kind.NETWORK: retry.network, Kind.OWN: retry.own}.get(kind, 1)
    if same < limit:
        return Next("planned", retry.backoff_s * retry.factor ** (same - 1))
    return Next("done" if any(attempt.outcome is Outcome.COMPLETED for attempt in past) else "failed")
