"""One caller's session at the answering side: its requests, over a channel that may break, and the end of its call."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from earwitness.errors import EarwitnessError, InputError
from earwitness.files import open_regular
from earwitness.phone.agent import failure_values
from earwitness.remote.answering import Answering
from earwitness.remote.bounds import LONGEST_CALL_S, MOST_AT_WORK, MessagePace, device_number, grace_s
from earwitness.remote.call_resources import CallResources
from earwitness.remote.channel import Channel, Message
from earwitness.remote.services import SERVICES
from earwitness.remote.store import StoredEnd
from earwitness.untrusted import UntrustedValue, fields, name, shown, whole

CHUNK_BYTES = 1 << 18


class CallerSession:
    """The session of one caller. The listener carries `channel`, connection after connection."""

    def __init__(self, answering: Answering) -> None:
        self.session = secrets.token_hex(16)
        self.channel = Channel(self._deliver, pace=MessagePace(), unread=self._is_not_read)
        self.ended = asyncio.Event()
        self.ended_because = ""
        """Why this side ended it, if it did."""
        self.call_id = ""
        self.away_since: float | None = time.monotonic()
        """When the connection was lost (CLOCK_MONOTONIC, s); None while there is one."""
        self.machine = answering.machine
        self._answering = answering
        self._stored: StoredEnd | None = None
        self._resources = CallResources(answering, self.channel)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False
        self._begun = time.monotonic()

    # -- what comes over the channel -------------------------------------------------------------------

    def _deliver(self, message: Message, blob: bytes) -> None:
        if "child" in message:
            helper = self._resources.helper(message["child"])
            if helper is None:
                return
            if "line" in message:
                helper.tell(message["line"])
            elif message.get("close"):
                helper.close_stdin()
            elif message.get("end"):
                self._run(helper.close(grace_s(message["end"])))
            return
        if len(self._tasks) >= MOST_AT_WORK:
            busy = InputError(
                "doing", shown(message.get("do")), f"{MOST_AT_WORK} requests wait for their answers", "ask later"
            )
            self._refuse(message.get("id"), busy)
            return
        self._run(self._answer(message, blob))

    def _is_not_read(self) -> None:
        """End the session: the caller does not read its messages."""
        self.ended_because = "it did not read its messages"
        self._run(self.close())

    def _refuse(self, number: object, error: EarwitnessError) -> None:
        failure = {"kind": type(error).__name__, **failure_values(error)}
        self.channel.send({"re": number, "failure": failure})

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message, blob: bytes) -> None:
        number, do = message.get("id"), message.get("do")
        resources = self._resources
        value: Any = None
        back = b""
        try:
            given = fields(message.get("with", {}), what="with")
            if self._ending and do not in ("leave", "files", "fetch"):
                raise InputError("doing", shown(do), "the call is being ended", "ask when it has ended")
            if do == "begin":
                await self._begin(given["call_id"])
            elif do == "speech":
                resources.keep_speech(blob)
            elif do == "device":
                value = resources.make_device(device_number(given))
            elif do == "remove_device":
                resources.remove_device(device_number(given))
            elif do == "capture":
                await resources.capture(resources.new_child(given), given["interface"])
            elif do == "phone":
                await resources.phone(resources.new_child(given))
            elif do == "linphone":
                await resources.linphone(resources.new_child(given))
            elif do == "forwarder":
                await resources.forwarder(resources.new_child(given), device_number(given))
            elif do == "tunnel":
                child = resources.new_child(given)
                value = await resources.tunnel(child, device_number(given), given["security"], given["nodelay"])
            elif do in SERVICES:
                value = await resources.services.open(do, given)
            elif do == "result":
                value = await resources.services.result(given["number"])
            elif do == "close":
                await resources.services.close(given["number"])
            elif do == "files":
                value = self._of(given).files()
            elif do == "fetch":
                path = self._of(given).file(name(given["name"], what="name"))
                with open_regular(path, follow=False) as file:
                    file.seek(whole(given["offset"], what="offset"))
                    back = file.read(CHUNK_BYTES)
            elif do == "leave":
                await self.close()
            else:
                raise InputError("doing", shown(do), "no such request", "run the same Earwitness on both machines")
        except EarwitnessError as error:
            self._refuse(number, error)
        except Exception as error:
            # The caller must be informed. Anything but a system error is a fault: of the request, or a bug of ours.
            happened = (
                str(error) if isinstance(error, OSError | UntrustedValue) else f"{type(error).__name__}: {error!s:.300}"
            )
            remedy = "run the same Earwitness on both machines; see there for what is wrong"
            self._refuse(number, EarwitnessError(f"doing {shown(do)} at", self.machine.name, happened, remedy))
        else:
            self.channel.send({"re": number, "value": value}, back)

    # -- what a caller may ask -------------------------------------------------------------------------

    async def _begin(self, call_id: str) -> None:
        await self._close_call()
        self._stored = self._answering.store.new(name(call_id, 200, what="call_id"))
        self._resources.begin(self._stored)
        self.call_id = call_id

    def _of(self, given: Mapping[str, Any]) -> StoredEnd:
        """Return the stored files of the call that the caller names, or of its current one."""
        if given.get("call_id"):
            return self._answering.store.find(given["call_id"])
        if self._stored is None:
            raise InputError("storing files of", "a call", "no call was begun", "run the same Earwitness there")
        return self._stored

    # -- the end ---------------------------------------------------------------------------------------

    async def watch_over(self) -> None:
        """End the session of a caller that does not reconnect, once its call's media have stopped."""
        received, grown = 0, time.monotonic()
        # Poll seldom, so as not to disturb the phone, which goes on measuring.
        look_every_s = max(1.0, self._answering.patience_s / 10)
        while not self.ended.is_set():
            await asyncio.sleep(look_every_s)
            now = time.monotonic()
            if now - self._begun > LONGEST_CALL_S:
                self.ended_because = f"its session exceeded {LONGEST_CALL_S:g} s"
                await self.close()
                continue
            if self.away_since is None:
                grown = now
                continue
            here = await self._resources.media_received()
            if here > received:
                received, grown = here, now
            away = now - self.away_since
            if min(away, now - grown) > self._answering.patience_s:
                await self.close()

    async def close(self) -> None:
        """End every process, storing its last events, and the session."""
        if not self.ended.is_set():
            try:
                await self._close_call()
            finally:
                self._ending = True
                self.ended.set()

    async def _close_call(self) -> None:
        # Anything that a request opened from now on would belong to no call, and leak.
        self._ending = True
        try:
            others = self._tasks - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._resources.end()
        finally:
            self._ending = False
