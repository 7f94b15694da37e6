"""The interface of a phone to a call: it listens or dials, and reports afterwards what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from earwitness.netns.host import Host
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.setup import PhoneSetup


class Phone(Protocol):
    """One phone of one call; every method raises `CallFailure` if the call does not complete."""

    @property
    def uri(self) -> str:
        """The URI that the other phone dials."""
        ...

    @property
    def milestones(self) -> Mapping[str, int]:
        """Milestones so far, ns on the call's clock; names as in `earwitness.phone.call_report.MILESTONES`."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Further remarks for the call's record."""
        ...

    async def register(self) -> None:
        """Register with the setup's SIP server: AUTH_FAILED or REGISTER_FAILED."""
        ...

    async def listen(self) -> None:
        """Answer the next call."""
        ...

    async def call(self, uri: str, timeout_s: float = 30.0) -> None:
        """Dial; return when the call is answered and speech begins. NO_ANSWER, CALL_REJECTED, AUTH_FAILED."""
        ...

    async def wait_answered(self, timeout_s: float) -> None:
        """Wait until a call has arrived and been acknowledged. NO_ANSWER after `timeout_s`."""
        ...

    async def finish(self, tail_s: float = 1.0) -> None:
        """Wait until both ends have spoken, wait `tail_s` for packets in flight, and hang up."""
        ...

    async def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the call is over; False if it is not after `timeout_s`."""
        ...

    async def hang_up(self) -> None:
        """End the current call, if any."""
        ...

    async def report(self) -> PhoneReport:
        """Return this end's report of the call."""
        ...


class Phones(Protocol):
    """A factory of phones: `start` returns a context that runs one on a host and ends it."""

    def start(self, host: Host, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """Run a phone, ready to listen or dial. PORT_TAKEN, TOOL_MISSING, SPEECH_UNUSABLE."""
        ...
