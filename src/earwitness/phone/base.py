"""What a phone is to a call: something that listens or dials, and reports afterwards what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from earwitness.netns.host import Host
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.setup import PhoneSetup


class Phone(Protocol):
    """One phone of one call; every method raises `CallFailure` where the call ends as anything but completed."""

    @property
    def uri(self) -> str:
        """What the other phone dials."""
        ...

    @property
    def milestones(self) -> Mapping[str, int]:
        """Milestones so far, ns on the call's clock; names as in `earwitness.phone.call_report.MILESTONES`."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the phone had to say besides, for the call's record."""
        ...

    async def register(self) -> None:
        """Register at the SIP server of the setup: AUTH_FAILED or REGISTER_FAILED."""
        ...

    async def listen(self) -> None:
        """Answer the next call."""
        ...

    async def call(self, uri: str, timeout_s: float = 30.0) -> None:
        """Dial; returns when the call is answered and speech begins. NO_ANSWER, CALL_REJECTED, AUTH_FAILED."""
        ...

    async def wait_answered(self, timeout_s: float) -> None:
        """Wait until a call came and was acknowledged. NO_ANSWER after `timeout_s`."""
        ...

    async def finish(self, tail_s: float = 1.0) -> None:
        """Wait until both ends have spoken, `tail_s` for what is still on the way, and hang up."""
        ...

    async def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the call is over; False when it still stands after `timeout_s`."""
        ...

    async def hang_up(self) -> None:
        """End the call now, if there is one."""
        ...

    async def report(self) -> PhoneReport:
        """What this end knows of the call."""
        ...


class Phones(Protocol):
    """A way to get a phone: `start` gives a context that runs one on a host and ends it."""

    def start(self, host: Host, setup: PhoneSetup) -> AbstractAsyncContextManager[Phone]:
        """Run a phone, ready to listen or dial. PORT_TAKEN, TOOL_MISSING, SPEECH_UNUSABLE."""
        ...
