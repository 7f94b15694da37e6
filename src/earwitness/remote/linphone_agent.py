"""linphone at the answering side, `python -m earwitness.remote.linphone_agent RECORDING`, driven like the built-in one.

The protocol is that of `earwitness.phone.agent`. The answering side, never the caller, chooses the recording's path.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from earwitness.errors import EarwitnessError
from earwitness.phone.agent import main
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.linphone import LinphonePhone
from earwitness.phone.session import Notify
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.machine import Machine


class LinphoneSession:
    """An `earwitness.phone.agent.Session` that drives a linphone on this machine."""

    def __init__(self, phone: LinphonePhone, notify: Notify, stack: AsyncExitStack) -> None:
        self.uri = phone.uri
        self._phone, self._notify, self._stack = phone, notify, stack
        phone.on_milestone = self._milestone
        for name, at_ns in phone.milestones.items():
            self._milestone(name, at_ns)

    @classmethod
    async def open(cls, recording: Path, setup: PhoneSetup, notify: Notify) -> LinphoneSession:
        """Start it; raises as `LinphonePhone.start`."""
        stack = AsyncExitStack()
        machine = Machine("callee", "", setup.address, "")
        return cls(await stack.enter_async_context(LinphonePhone.start(machine, setup, recording)), notify, stack)

    async def register(self) -> None:
        """Register at the setup's server."""
        await self._phone.register()

    def listen(self, ring_s: float = 0.0, refuse_with: int = 0) -> None:
        """Answer the next call at once; it can neither ring nor refuse."""
        if ring_s or refuse_with:
            raise EarwitnessError("having linphone", "ring or refuse", "it answers at once", "use the built-in phone")
        self._phone.answer_the_next()

    async def call(self, uri: str, timeout_s: float) -> None:
        """Dial."""
        await self._phone.call(uri, timeout_s)

    async def finish(self, tail_s: float) -> None:
        """Play the speech to its end and hang up."""
        await self._phone.finish(tail_s)

    async def hang_up(self) -> None:
        """End the call now."""
        await self._phone.hang_up()

    def report(self) -> PhoneReport:
        """Return the phone's report."""
        return self._phone.report_now()

    async def close(self) -> None:
        """Hang up and end it, with its recording complete."""
        await self._stack.aclose()

    def _milestone(self, name: str, at_ns: int) -> None:
        self._notify("milestone", {"name": name, "at_ns": at_ns})


if __name__ == "__main__":
    main(partial(LinphoneSession.open, Path(sys.argv[1])))
