"""The common form of every error shown to users, and the typed endings of a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Self


class EarwitnessError(Exception):
    """An operation failed.

    The four parts make one line: what was tried, on what, what happened, what to do. The command line prints that line
    and exits with `exit_code`, without a traceback.
    """

    exit_code = 1

    def __init__(self, tried: str, on: object, happened: object, remedy: str) -> None:
        self.tried = tried
        self.on = str(on)
        self.happened = str(happened)
        self.remedy = remedy
        super().__init__(tried, self.on, self.happened, remedy)

    @property
    def clause(self) -> str:
        """What was tried, on what, and what happened."""
        return f"{self.tried} {self.on}: {self.happened}"

    @property
    def advice(self) -> str:
        """What to do."""
        return self.remedy

    def __str__(self) -> str:
        return " ".join(f"{self.clause}; {self.advice}".split())


class InputError(EarwitnessError):
    """A file or argument given by the user cannot be used.

    `field` is the faulty setting, by the name of its dataclass field (`CallPlan.hops`: "hops"), with a dot before a
    part of it ("link.jitter_ms"); it is empty if no single setting is at fault. A remedy names settings in braces;
    those other than `field` are listed in `related`: `InputError(..., "set {sip_server}", field="sip_accounts",
    related=("sip_server",))`. Each front end substitutes the names that its users know (`named`): --sip-server, or a
    key of a file.
    """

    exit_code = 2

    def __init__(
        self, tried: str, on: object, happened: object, remedy: str, *, field: str = "", related: tuple[str, ...] = ()
    ) -> None:
        super().__init__(tried, on, happened, remedy)
        self.field = field
        self.related = related
        self.names: Mapping[str, str] = {}

    @property
    def setting(self) -> str:
        """The faulty setting without its part: "link" for "link.jitter_ms"."""
        return self.field.partition(".")[0]

    def named(self, names: Mapping[str, str]) -> Self:
        """Rename settings in this error, and return it; settings without an entry keep their names."""
        self.names = names
        return self

    @property
    def advice(self) -> str:
        """The remedy, with the settings' names filled in."""
        text = self.remedy
        for other in (self.setting, *self.related):
            text = text.replace(f"{{{other}}}", self.names.get(other, other))
        return text

    def __str__(self) -> str:
        place = self.names.get(self.setting)
        line = f"{self.clause}; {self.advice}"
        return " ".join((f"{place}: {line}" if place else line).split())


@contextmanager
def naming_field(field: str, **renamed: str) -> Iterator[None]:
    """Attribute every `InputError` raised in the block to this setting.

    A field named inside the block becomes a part of it: `link` and "jitter_ms" make "link.jitter_ms". With an empty
    `field`, only the settings in `renamed` are renamed: naming_field("", caller_place="from_place").
    """
    try:
        yield
    except InputError as error:
        inner = renamed.get(error.field, error.field)
        error.field = ".".join(filter(None, (field, inner)))
        raise


class Outcome(StrEnum):
    """How a call ended. Every call has exactly one of these outcomes."""

    COMPLETED = "completed"
    TOOL_MISSING = "tool_missing"
    """This machine lacks a program or permission that the call needs."""
    LAB_FAILED = "lab_failed"
    """The private network did not come up, or died."""
    SPEECH_UNUSABLE = "speech_unusable"
    """The reference speech is empty, silent, or not audio."""
    PORT_TAKEN = "port_taken"
    """A local port that the call needs is in use."""
    PATH_FAILED = "path_failed"
    """The path (tunnel, listener, forwarder) did not open."""
    CIRCUIT_FAILED = "circuit_failed"
    """Tor could not build the circuit asked for."""
    STREAM_REFUSED = "stream_refused"
    """The circuit was built, but a stream over it was refused (exit policy, connection refused, timeout)."""
    ONION_UNREACHABLE = "onion_unreachable"
    """The onion service was not reached: its descriptor was not found, or introduction or rendezvous failed."""
    PATH_LOST = "path_lost"
    """The path closed during the call."""
    REMOTE_REFUSED = "remote_refused"
    """The other machine did not prove its identity, or rejected this one: no call was attempted."""
    REMOTE_LOST = "remote_lost"
    """The other machine's end of the call could not be reached, or died."""
    REGISTER_FAILED = "register_failed"
    """The registrar did not answer, or refused for a reason other than credentials."""
    AUTH_FAILED = "auth_failed"
    """The SIP server refused the credentials."""
    NO_ANSWER = "no_answer"
    """The callee did not answer the INVITE in time, or was unreachable."""
    CALL_REJECTED = "call_rejected"
    """The callee answered with a final refusal (486, 488, 603 ...)."""
    NO_MEDIA = "no_media"
    """The call was answered but no RTP arrived at either end."""
    ONE_WAY_MEDIA = "one_way_media"
    """RTP arrived at one end only."""
    CAPTURE_EMPTY = "capture_empty"
    """Media flowed, but a capture holds none of it."""
    SCORER_REFUSED = "scorer_refused"
    """The audio was rendered, but a scorer could not score it."""
    STORAGE_FAILED = "storage_failed"
    """The data set could not be written (disk full, permission)."""
    INTERRUPTED = "interrupted"
    """The user stopped the call."""
    FAILED = "failed"
    """Any other failure; see the detail."""


class CallFailure(EarwitnessError):
    """A call did not complete: its outcome, the stage it reached, and the evidence."""

    exit_code = 3

    def __init__(
        self,
        outcome: Outcome,
        stage: str,
        *,
        on: object,
        happened: object,
        remedy: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(stage, on, happened, remedy)
        self.outcome = outcome
        self.stage = stage
        self.evidence: dict[str, Any] = dict(evidence or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return _call_failure, (self.outcome, self.stage, self.on, self.happened, self.remedy, self.evidence)


def _call_failure(
    outcome: Outcome, stage: str, on: str, happened: str, remedy: str, evidence: Mapping[str, Any]
) -> CallFailure:
    """A failure that came from another process."""
    return CallFailure(outcome, stage, on=on, happened=happened, remedy=remedy, evidence=evidence)
