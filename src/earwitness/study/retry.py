"""Decides, from all attempts at a planned call so far, whether it is done, failed, or retried, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from earwitness.errors import Outcome
from earwitness.study.model import Retry


class FailureKind(StrEnum):
    """What kind of failure an outcome is, which decides whether to retry."""

    COMPLETED = "completed"
    NETWORK = "network"
    """The path or the far end failed: a result of the study. Retried, as a user would."""
    OWN = "own"
    """This machine failed, which says nothing about the path."""
    SETTLED = "settled"
    """Another attempt would fail in the same way."""
    HALT = "halt"
    """Every call would fail in the same way: the study stops until it is fixed. Does not count as an attempt."""
    STOPPED = "stopped"
    """The user stopped the call. Does not count as an attempt."""


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
    """The kind of failure of an outcome. All that neither this machine nor the user caused are the network's, including
    `SCORER_REFUSED`: the received sound could not be scored.
    """
    return _KINDS.get(outcome, FailureKind.NETWORK)


@dataclass(frozen=True)
class Ended:
    """How one attempt ended."""

    outcome: Outcome
    instrument_ok: bool | None = None


@dataclass(frozen=True)
class Next:
    """The call's new state: `done`, `failed`, or `planned` (retry after `wait_s`)."""

    state: str
    wait_s: float = 0.0


def decide(past: Sequence[Ended], retry: Retry) -> Next:
    """The decision after all attempts so far, oldest first.

    A completed call that failed the instrument check is repeated while `retry.instrument` permits, then kept and
    marked. A failed call is repeated up to the limit of its kind of failure.
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
