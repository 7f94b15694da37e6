"""The built-in phone, run as a process on a host: real SIP, precisely paced RTP, RTCP."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.child import Child, ChildGone, JsonChild
from earwitness.netns.host import Host
from earwitness.phone.base import Phones
from earwitness.phone.call_report import PhoneReport, milestone, strange_report
from earwitness.phone.setup import PhoneSetup
from earwitness.untrusted import UntrustedValue, fields, name, plain, text, whole

AGENT = (sys.executable, "-m", "earwitness.phone.agent")
START_TIMEOUT_S = 60.0
ANSWERED_S = 300.0
"""Time limit of a command, long enough for a control channel that is cut for two minutes."""
_MOST_NOTES = 100
_GRACE_S = 8.0
"""Time to hang up and deregister once its stdin closes."""


class BuiltinPhone:
    """A running built-in phone: `async with BuiltinPhone.start(host, setup) as phone`."""

    name = "builtin"

    def __init__(self, child: Child, uri: str) -> None:
        self.uri = uri
        """The URI that the other phone dials."""
        self.milestones: dict[str, int] = {}
        """Milestones so far, ns on the call's clock."""
        self.notes: list[str] = []
        """Further remarks for the call's record."""
        self.no_media = asyncio.Event()
        """Set when the call was answered and no RTP arrived for `PhoneSetup.no_media_s`."""
        self._child = child
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._confirmed = asyncio.Event()
        self._ended = asyncio.Event()
        self._gone: CallFailure | None = None
        self._listener = asyncio.create_task(self._listen_to_child())

    @classmethod
    @asynccontextmanager
    async def start(cls, host: Host, setup: PhoneSetup) -> AsyncIterator[BuiltinPhone]:
        """Run a phone on `host`, ready with its ports bound and its speech encoded. Hangs up on leaving.

        Raises CallFailure: PORT_TAKEN, SPEECH_UNUSABLE, REGISTER_FAILED (unknown server name), FAILED.
        """
        child = await JsonChild.start(host, AGENT, f"phone of {host.name}")
        async with cls.over(child, setup) as phone:
            yield phone

    @classmethod
    @asynccontextmanager
    async def over(cls, child: Child, setup: PhoneSetup) -> AsyncIterator[BuiltinPhone]:
        """Set up the phone of a process that was just started; otherwise as `start`."""
        phone: BuiltinPhone | None = None
        try:
            try:
                child.send(setup.to_dict())
                event = await child.receive(START_TIMEOUT_S)
            except ChildGone as gone:
                raise _lost(gone) from gone
            try:
                if event["event"] != "ready":
                    raise failure_from(event["failure"])
                uri = name(event["uri"], 500, what="its URI")
            except (KeyError, TypeError, ValueError) as error:
                raise _lost(_strange(f"at {setup.address}", error)) from error
            phone = cls(child, uri)
            yield phone
        finally:
            if phone is not None:
                phone._closing()
            await child.close(_GRACE_S)

    async def register(self) -> None:
        """Register with the setup's server. AUTH_FAILED or REGISTER_FAILED."""
        await self._ask("register")

    async def listen(self, ring_s: float = 0.0, refuse_with: int = 0) -> None:
        """Answer the next call after ringing `ring_s`, or refuse all with that SIP status (486 busy, 603 ...)."""
        await self._ask("listen", ring_s=ring_s, refuse_with=refuse_with)

    async def call(self, uri: str, timeout_s: float = 30.0) -> None:
        """Dial; return when answered, acknowledged and speaking. NO_ANSWER, CALL_REJECTED, AUTH_FAILED."""
        await self._ask("call", within_s=timeout_s + ANSWERED_S, uri=uri, timeout_s=timeout_s)

    async def wait_answered(self, timeout_s: float) -> None:
        """As the callee: wait until a call is set up. NO_ANSWER after `timeout_s`."""
        if not await self._wait(self._confirmed, timeout_s):
            raise CallFailure(
                Outcome.NO_ANSWER,
                "waiting for a call at",
                on=self.uri,
                happened=f"none was set up in {timeout_s:g} s",
                remedy="check that the caller dials this address and that the path carries UDP",
            )

    async def finish(self, tail_s: float = 1.0) -> None:
        """Wait until both ends have spoken and `tail_s` more, then hang up. `tail_s` must exceed the path's delay."""
        await self._ask("finish", within_s=None, tail_s=tail_s)

    async def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the call is over; False if it is not after `timeout_s`."""
        return await self._wait(self._ended, timeout_s)

    async def hang_up(self) -> None:
        """End the current call, if any."""
        await self._ask("hang_up")

    async def report(self) -> PhoneReport:
        """Return this end's report of the call, complete once the call has ended. Raises `StrangeReport`."""
        reported = await self._ask("report")
        try:
            return PhoneReport.from_dict(reported)
        except UntrustedValue as wrong:
            raise strange_report(self.uri, reported, wrong) from wrong

    async def _ask(self, do: str, *, within_s: float | None = ANSWERED_S, **given: object) -> Any:
        if self._gone is not None:
            raise self._gone
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._child.send({"id": number, "do": do, "with": given})
            async with asyncio.timeout(within_s):
                return await waiting
        except ChildGone as gone:
            raise _lost(gone) from gone
        except TimeoutError as error:
            happened = f"no answer to `{do}` in {within_s:g} s"
            remedy = "check that both machines run the same Earwitness and that the phone's is not busy"
            raise CallFailure(
                Outcome.FAILED, "talking to the", on=f"phone {self.uri}", happened=happened, remedy=remedy
            ) from error
        finally:
            del self._waiting[number]

    async def _wait(self, happened: asyncio.Event, timeout_s: float) -> bool:
        event = asyncio.create_task(happened.wait())
        try:
            await asyncio.wait({event, self._listener}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            event.cancel()
        if not happened.is_set() and self._gone is not None:
            raise self._gone
        return happened.is_set()

    async def _listen_to_child(self) -> None:
        try:
            while True:
                self._heard(await self._child.receive())
        except (ChildGone, KeyError, TypeError, ValueError) as error:
            # A phone on a remote machine may send malformed events; nothing that awaits it may wait for ever.
            gone = error if isinstance(error, ChildGone) else _strange(self.uri, error)
            self._gone = _lost(gone)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(self._gone)

    def _heard(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "reply":
            waiting = self._waiting.get(whole(event["id"], -1, what="which reply"))
            if waiting is not None and not waiting.done():
                if "failure" in event:
                    waiting.set_exception(failure_from(event["failure"]))
                else:
                    waiting.set_result(event["value"])
        elif kind == "milestone":
            reached, at_ns = milestone(event["name"], event["at_ns"])
            self.milestones[reached] = at_ns
        elif kind == "confirmed":
            self._confirmed.set()
        elif kind == "ended":
            self._ended.set()
        elif kind == "no_media":
            self.no_media.set()
        elif kind == "note" and len(self.notes) < _MOST_NOTES:
            self.notes.append(text(event["text"], what="a note"))

    def _closing(self) -> None:
        self._listener.cancel()


def failure_from(values: dict[str, Any]) -> CallFailure:
    """Rebuild the CallFailure that a phone's process or a remote machine sent. Raises `KeyError`, `ValueError`."""
    outcome = Outcome(name(values["outcome"], what="outcome"))
    if outcome in (Outcome.COMPLETED, Outcome.INTERRUPTED):
        outcome = Outcome.FAILED  # only we can know that a call is complete, or that the user ended it
    stage, on, happened, remedy = (text(values[key], what=key) for key in ("stage", "on", "happened", "remedy"))
    return CallFailure(
        outcome, stage, on=on, happened=happened, remedy=remedy, evidence=plain(fields(values["evidence"]))
    )


def _strange(uri: str, error: Exception) -> ChildGone:
    happened = f"its output cannot be understood: {error!r}"
    return ChildGone("talking to the", f"phone {uri}", happened, "run the same Earwitness on both machines")


def _lost(gone: ChildGone) -> CallFailure:
    return CallFailure(Outcome.FAILED, gone.tried, on=gone.on, happened=gone.happened, remedy=gone.remedy)


if TYPE_CHECKING:
    _kind: Phones = BuiltinPhone
