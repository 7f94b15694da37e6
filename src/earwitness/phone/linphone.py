"""Debian's `linphonec` as a phone: a real softphone, without a sound card, that records what it plays.

It is controlled through its standard input. It sends the speech of one WAV file and records its playout to another.
Its jitter buffer, concealment and clock are its own, which is the purpose of using it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.netns.host import Host
from earwitness.netns.scratch import scratch_folder
from earwitness.phone.base import Phones
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.linphone_config import check_line, linphone_settings
from earwitness.phone.linphone_log import LinphoneLog
from earwitness.phone.media import bind_udp
from earwitness.phone.setup import PhoneSetup
from earwitness.phone.user_agent import NOBODY_THERE
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from earwitness.speech.wav import write_wav

START_TIMEOUT_S = 20.0
REGISTER_TIMEOUT_S = 35.0
"""Longer than 64 x T1, after which linphone itself gives up."""
_SILENCE_AFTER_S = 120.0
"""Silence appended to the speech, s, because linphone plays the file in a loop."""


class LinphonePhone:
    """A running linphonec: `async with LinphonePhone.start(host, setup, recording) as phone`."""

    name = "linphone"

    def __init__(self, host: Host, setup: PhoneSetup, recording: Path, speech_s: float) -> None:
        self.setup = setup
        self.recording = recording
        """Its own recording of its playout: WAV at the codec's rate, complete after the call."""
        self.notes: list[str] = []
        self.on_milestone: Callable[[str, int], None] = lambda _name, _at_ns: None
        """Called with each milestone as it is reached: its name, and ns on the call's clock."""
        self._host = host
        self._speech_s = speech_s
        self._log = LinphoneLog()
        self._changed = asyncio.Condition()
        self._role = "idle"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The URI that the other phone dials."""
        server = self.setup.server
        if server is not None:
            return f"sip:{server.user}@{server.domain or server.host}"
        return f"sip:{self.setup.user}@{self.setup.address}:{self.setup.sip_port}"

    @property
    def milestones(self) -> dict[str, int]:
        """Milestones so far, ns on the call's clock, from its output: a few ms late, and none for RTP."""
        return self._log.milestones

    @classmethod
    @asynccontextmanager
    async def start(
        cls, host: Host, setup: PhoneSetup, recording: Path, *, fixed_buffer_ms: int | None = None
    ) -> AsyncIterator[LinphonePhone]:
        """Run linphonec on `host`, recording to `recording`. Hangs up and ends it on leaving.

        The jitter buffer is its own: adaptive, or fixed at `fixed_buffer_ms`.

        Raises CallFailure: TOOL_MISSING, PORT_TAKEN, SPEECH_UNUSABLE; InputError for a codec that it does not have.
        """
        program = shutil.which("linphonec")
        if program is None:
            raise CallFailure(
                Outcome.TOOL_MISSING,
                "starting",
                on="linphonec",
                happened="it is not installed",
                remedy="apt install linphone-cli",
            )
        codecs = [codec_of(spec) for spec in (setup.codec, *setup.accepts)]
        with host.inside():
            for port, what in ((setup.sip_port, "SIP"), (setup.rtp_port, "RTP"), (setup.rtp_port + 1, "RTCP")):
                bind_udp(setup.address, port, what).close()
        with ExitStack() as parts:
            home = parts.enter_context(scratch_folder("linphone-"))
            (home / ".local/share/linphone").mkdir(parents=True)
            said = _speech_file(setup, home / "speech.wav")
            with os.fdopen(os.open(home / "rc", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(linphone_settings(setup, codecs, fixed_buffer_ms))
            phone = cls(host, setup, recording.absolute(), said)
            try:
                await phone._run(program, home)
                yield phone
            finally:
                await phone._close()

    async def register(self) -> None:
        """Wait for the registration, which linphone starts by itself. AUTH_FAILED or REGISTER_FAILED."""
        if self.setup.server is None:
            raise ValueError("a phone without a server cannot register")
        done = await self._until(lambda: self._log.registration in ("Ok", "Failed"), REGISTER_TIMEOUT_S)
        if done and self._log.registration == "Ok":
            return
        status = self._log.last_register_status
        raise CallFailure(
            Outcome.AUTH_FAILED if status in (401, 403, 407) else Outcome.REGISTER_FAILED,
            "registering linphone",
            on=f"SIP server {self.setup.server.host}:{self.setup.server.port} as {self.setup.server.user}",
            happened=f"refused with {status}" if status else "it did not answer",
            remedy="check the user and password" if status else "check that it runs",
        )

    async def listen(self) -> None:
        """Answer the next call at once."""
        self.answer_the_next()

    def answer_the_next(self) -> None:
        """Synchronous form of `listen`."""
        self._role = "callee"
        self._say("autoanswer enable")

    async def call(self, uri: str, timeout_s: float = 30.0) -> None:
        """Dial; return when media flow. NO_ANSWER or CALL_REJECTED."""
        self._role = "caller"
        self._say(f"call {uri}")
        await self._until(lambda: self._log.streaming or self._log.over, timeout_s)
        if self._log.streaming:
            return
        status = self._log.invite_status
        if not self._log.over:
            self._say("terminate")
            await self._until(lambda: self._log.over, 3.0)
        refused = self._log.over and status >= 300 and status not in NOBODY_THERE
        raise CallFailure(
            Outcome.AUTH_FAILED if status in (401, 407) else Outcome.CALL_REJECTED if refused else Outcome.NO_ANSWER,
            "calling with linphone",
            on=uri,
            happened=f"refused with {status}" if status >= 300 else f"no answer within {timeout_s:g} s",
            remedy="see the callee's log for its reason",
            evidence={"status": status},
        )

    async def wait_answered(self, timeout_s: float) -> None:
        """As the callee: wait until a call is set up. NO_ANSWER after `timeout_s`."""
        if not await self._until(lambda: self._log.streaming, timeout_s):
            raise CallFailure(
                Outcome.NO_ANSWER,
                "waiting for a call at",
                on=self.uri,
                happened=f"none was set up in {timeout_s:g} s",
                remedy="check that the caller dials this address and that the path carries UDP",
            )

    async def finish(self, tail_s: float = 1.0) -> None:
        """Wait until both ends have spoken and `tail_s` more, then hang up."""
        remote_s = self.setup.remote_seconds if self.setup.remote_seconds is not None else self._speech_s
        since = self.milestones.get("ack", self.milestones.get("answered", self._now_ns()))
        left_s = max(self._speech_s, remote_s) + tail_s - (self._now_ns() - since) / 1e9
        await self._until(lambda: self._log.over, max(0.0, left_s))
        await self.hang_up()

    async def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the call is over; False if it is not after `timeout_s`."""
        return await self._until(lambda: self._log.over, timeout_s)

    async def hang_up(self) -> None:
        """End the current call, if any."""
        if "invite_sent" in self.milestones or "invite_received" in self.milestones:
            if not self._log.over:
                self._say("terminate")
            await self._until(lambda: self._log.over and (not self._log.streaming or self._log.counted), 5.0)

    async def report(self) -> PhoneReport:
        """Return this end's report, without sending times and RTCP; the captures hold more."""
        return self.report_now()

    def report_now(self) -> PhoneReport:
        """Synchronous form of `report`."""
        log = self._log
        received = log.counts.get("received", 0)
        return PhoneReport(
            uri=self.uri,
            role=self._role,
            codec=codec_of(self.setup.codec).encoding_name if log.streaming else "",
            milestones=dict(sorted(log.milestones.items(), key=lambda item: item[1])),
            scheduling="normal",
            packets_sent=log.counts.get("sent", 0),
            packets_received=received,
            packets_lost=log.counts.get("incoming cumulative lost", 0),
            no_media=log.over and log.streaming and received == 0,
            ended_by=log.ended_by,
            bye_status=log.bye_status,
            sip=tuple(log.sip),
        )

    async def _run(self, program: str, home: Path) -> None:
        """Start the program and wait until it listens."""
        argv = [program, "-c", str(home / "rc"), "-d", "6", "-l", "/dev/stdout"]
        environment = {
            "HOME": str(home),
            "PATH": os.environ.get("PATH", "/usr/bin"),
            "LC_ALL": "C.UTF-8",
            # Otherwise its sound library would leave a folder in /tmp for each new home.
            "PULSE_RUNTIME_PATH": str(home / "pulse"),
        }
        self._process = self._host.popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=str(home),
        )
        assert self._process.stdout is not None
        reader = asyncio.StreamReader(limit=1 << 20)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        self._reading = asyncio.create_task(self._read(reader))
        for command in ("soundcard use files", f"record {self.recording}", f"play {home / 'speech.wav'}", "ports"):
            self._say(command)
        if not await self._until(lambda: self._log.ready, START_TIMEOUT_S):
            raise self._gone("it did not become ready")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            known = len(self.milestones)
            self._log.line(line.decode("utf-8", errors="replace").rstrip("\r\n"), self._now_ns())
            for name, at_ns in list(self.milestones.items())[known:]:
                self.on_milestone(name, at_ns)
            async with self._changed:
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the log satisfies `reached`; False after `timeout_s`. CallFailure if linphonec has ended."""
        try:
            # Not `asyncio.wait_for`: in Python 3.11 it loses a cancellation that coincides with the end (bpo-37658).
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: reached() or self._reading.done())
        except TimeoutError:
            return reached()
        if not reached():
            raise self._gone("it ended by itself")
        return True

    def _say(self, command: str) -> None:
        check_line(command)
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone(str(error)) from error

    def _gone(self, happened: str) -> CallFailure:
        return CallFailure(
            Outcome.FAILED,
            "talking to",
            on=f"linphonec on {self._host.name}",
            happened=happened,
            remedy="run it by hand with the same codec",
        )

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self.setup.epoch_offset_ns

    async def _close(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            if process.poll() is None and not self._reading.done():
                await self.hang_up()
                self._say("quit")
                await asyncio.wait({self._reading}, timeout=3.0)
        finally:
            if process.poll() is None:
                process.kill()
            await asyncio.to_thread(process.wait)
            self._reading.cancel()
            self._transport.close()
            if process.stdin is not None:
                process.stdin.close()


def recording_name(end: str) -> str:
    """Return the name of the recording by the linphone of `caller` or `callee`, in the call's folder."""
    return f"{end}-linphone.wav"


@dataclass(frozen=True)
class Linphones:
    """A `Phones`: linphones that record to a folder, each file named after its end (`recording_name`)."""

    recordings: Path

    def start(self, host: Host, setup: PhoneSetup) -> AbstractAsyncContextManager[LinphonePhone]:
        """Run one on a host; see `LinphonePhone.start`."""
        return LinphonePhone.start(host, setup, self.recordings / recording_name(setup.user))


if TYPE_CHECKING:
    _kind: Phones = Linphones(Path())


def _speech_file(setup: PhoneSetup, path: Path) -> float:
    """Write the speech, followed by silence; return its length in seconds, without the silence."""
    try:
        said = speech(setup.speech or DEFAULT_SPEECH, sample_rate=8000)
    except InputError as error:
        raise CallFailure(
            Outcome.SPEECH_UNUSABLE, error.tried, on=error.on, happened=error.happened, remedy=error.remedy
        ) from error
    wanted = len(said.samples) if setup.seconds is None else round(setup.seconds * said.sample_rate)
    silence = np.zeros(round(_SILENCE_AFTER_S * said.sample_rate), dtype=np.int16)
    write_wav(path, np.concatenate([np.resize(said.samples, wanted), silence]), said.sample_rate)
    return wanted / said.sample_rate
