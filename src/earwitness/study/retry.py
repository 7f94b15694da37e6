"""What becomes of a planned call after an attempt at it: done, failed, or again, and when. A function of its past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from earwitness.errors import Outcome
from earwitness.study.model import Retry


class FailureKind(StrEnum):
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


_KINDS: dict[Outcome, FailureKind] = {
    Outcome.COMPLETED: FailureKind.COMPLETED,
    Outcome.TOOL_MISSING: FailureKind.HALT,
    Outcome.LAB_FAILED: FailureKind.HALT,
    Outcome.STORAGE_FAILED: FailureKind.HALT,
    Outcome.REMOTE_REFUSED: FailureKind.HALT,
    Outcome.SPEECH_UNUSABLE: FailureKind.SETTLED,
    Outcome.AUTH_FAILED: FailureKind.SETTLED,
    Outcome.PORT_TAKEN: FailureKind.OWN,
    Outcome.CAPTURE_EMPTY: FailureKind.OWN,
    Outcome.REMOTE_LOST: FailureKind.OWN,
    Outcome.FAILED: FailureKind.OWN,
    Outcome.INTERRUPTED: FailureKind.STOPPED,
}


def failure_kind(outcome: Outcome) -> FailureKind:
    """What an outcome says. All that are not this machine's or the user's doing are the network's, also
    `SCORER_REFUSED`: what arrived could not be scored.
    """
    return _KINDS.get(outcome, FailureKind.NETWORK)


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
    kind = failure_kind(last.outcome)
    if kind is FailureKind.COMPLETED and last.instrument_ok is not False:
        return Next("done")
    if kind in (FailureKind.HALT, FailureKind.STOPPED):
        return Next("planned")
    same = sum(1 for attempt in past if failure_kind(attempt.outcome) is kind)
    if kind is FailureKind.COMPLETED:
        limit = retry.instrument
    else:
        limit = {FailureKind.NETWORK: retry.network, FailureKind.OWN: retry.own}.get(kind, 1)
    if same < limit:
        return Next("planned", retry.backoff_s * retry.factor ** (same - 1))
    return Next("done" if any(attempt.outcome is Outcome.COMPLETED for attempt in past) else "failed")
