"""The user's own phone, operated by hand: we print where to bind and what to dial, and observe only its capture."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.netns.host import Host
from earwitness.netns.scratch import scratch_folder
from earwitness.phone.base import Phones
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.linphone_config import linphone_settings
from earwitness.phone.setup import PhoneSetup
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav
from earwitness.trace.capture import Capture, read_capture
from earwitness.trace.sdp import SipMessage

QUIET_S = 5.0
"""A call whose media have stopped for this long is over."""
_LOOK_EVERY_S = 1.0


class ManualPhone:
    """A phone that the user runs; everything known of it comes from its end's capture."""

    name = "manual"

    def __init__(self, setup: PhoneSetup, capture: Path, wait_s: float) -> None:
        self.setup = setup
        self.milestones: dict[str, int] = {}
        self.notes: list[str] = []
        self._capture = capture
        self._wait_s = wait_s
        self._interrupted = False

    @property
    def uri(self) -> str:
        """The URI that the other phone dials."""
        return f"sip:{self.setup.user}@{self.setup.address}:{self.setup.sip_port}"

    async def register(self) -> None:
        """Not supported: the user registers the phone."""
        raise ValueError("a phone that is operated by hand is registered by hand")

    async def listen(self) -> None:
        """Do nothing: the user's phone listens."""

    async def call(self, uri: str, timeout_s: float = 30.0) -> None:
        """Wait until the user has dialled and RTP passes this end, for the wait that the user chose. NO_MEDIA."""
        await self.wait_answered(self._wait_s)

    async def wait_answered(self, timeout_s: float) -> None:
        """Wait for RTP, sent or received. NO_MEDIA after `timeout_s` or on Ctrl-C."""
        deadline = time.monotonic() + timeout_s
        with _ctrl_c() as pressed:
            while await self._last_media_ns() is None:
                left_s = deadline - time.monotonic()
                if pressed.is_set() or left_s <= 0:
                    raise CallFailure(
                        Outcome.NO_MEDIA,
                        "waiting for RTP of your phone at",
                        on=self.uri,
                        happened="stopped by Ctrl-C before any arrived"
                        if pressed.is_set()
                        else f"none in {timeout_s:g} s",
                        remedy="bind the phones and dial as printed; --wait SECONDS gives more time",
                    )
                await _sleep(pressed, min(_LOOK_EVERY_S, left_s))
            self._interrupted = pressed.is_set()

    async def finish(self, tail_s: float = 1.0) -> None:
        """Wait until media have stopped for `QUIET_S` or the user presses Ctrl-C; the user hangs up."""
        with _ctrl_c() as pressed:
            while not (pressed.is_set() or self._interrupted or await self._quiet()):
                await _sleep(pressed, _LOOK_EVERY_S)
            if pressed.is_set():
                self.notes.append("ended by Ctrl-C")

    async def wait_ended(self, timeout_s: float) -> bool:
        """Wait until media have stopped; False if they have not after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not (quiet := await self._quiet()) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)
        return quiet

    async def hang_up(self) -> None:
        """Do nothing: the user hangs up."""

    async def report(self) -> PhoneReport:
        """Return a report of this end from the capture."""
        capture = await asyncio.to_thread(self._read)
        if capture is None:
            return PhoneReport(uri=self.uri, role="idle")
        address = self.setup.address
        sent, received = capture.sent_by(address), capture.received_by(address)
        marks = sip_milestones(capture.sip, address)
        for mark, streams in (("first_rtp_sent", sent), ("first_rtp_received", received)):
            if streams:
                marks[mark] = min(int(stream.trace.arrived_ns.min()) for stream in streams)
        self.milestones = dict(sorted(marks.items(), key=lambda item: item[1]))
        role = "caller" if "invite_sent" in marks else "callee" if "invite_received" in marks else "idle"
        if role == "idle" and (sent or received):
            self.notes.append("no INVITE in its capture: set-up times are not known (SIP over TCP is not captured)")
        elif role not in ("idle", self.setup.user):
            self.notes.append(
                f"the {self.setup.user}'s end was the {role}: the call was dialled in the opposite direction"
            )
        return PhoneReport(
            uri=self.uri,
            role=role,
            codec=sent[0].encoding.name if sent else "",
            payload_type=sent[0].payload_type if sent else None,
            milestones=dict(self.milestones),
            packets_sent=sum(len(stream.trace) for stream in sent),
            packets_received=sum(len(stream.trace) for stream in received),
            no_media=not received,
        )

    async def _quiet(self) -> bool:
        last = await self._last_media_ns()
        now = time.monotonic_ns() + self.setup.epoch_offset_ns
        return last is None or now - last > QUIET_S * 1e9

    async def _last_media_ns(self) -> int | None:
        """Time of the last RTP packet at this end, on the call's clock; None before the first."""
        capture = await asyncio.to_thread(self._read)
        if capture is None or not capture.streams:
            return None
        return max(int(stream.trace.arrived_ns.max()) for stream in capture.streams)

    def _read(self) -> Capture | None:
        """Read the capture so far; it is written packet by packet. None while it is empty or unreadable."""
        try:
            return read_capture(self._capture)
        except EarwitnessError:
            return None  # the call's record is made from the same file and reports what is wrong with it


def sip_milestones(messages: Sequence[SipMessage], address: str) -> dict[str, int]:
    """Return the milestones of the call set up by these messages, as seen by its end at `address`.

    Of several dialogs the first answered one counts, else the first. Names as in `MILESTONES`.
    """
    invites = [message for message in messages if message.method == "INVITE"]
    if not invites:
        return {}
    answered = [message.call_id for message in invites if 200 <= message.status < 300]
    call_id = (answered or [invites[0].call_id])[0]
    marks: dict[str, int] = {}
    for message in messages:
        if message.call_id != call_id:
            continue
        request, final = not message.status, message.status >= 200
        if message.method == "INVITE" and request:
            mark = "invite_sent" if message.source == address else "invite_received"
        elif message.method == "INVITE" and 101 <= message.status < 200:
            mark = "first_provisional"
        elif message.method == "INVITE" and 200 <= message.status < 300:
            mark = "answered"
        elif message.method == "ACK" and "answered" in marks:
            mark = "ack"
        elif message.method == "BYE" and (request or final):
            mark = "bye" if request else "ended"
        else:
            continue
        marks.setdefault(mark, message.time_ns)
    return marks


@dataclass(frozen=True)
class ManualPhones:
    """A `Phones`: phones that the user runs, each with its end's capture."""

    captures: Mapping[str, Path]
    """By the phone's user name."""
    wait_s: float

    @asynccontextmanager
    async def _start(self, setup: PhoneSetup) -> AsyncIterator[ManualPhone]:
        yield ManualPhone(setup, self.captures[setup.user], self.wait_s)

    def start(self, host: Host, setup: PhoneSetup) -> AbstractAsyncContextManager[ManualPhone]:
        """Return the phone; no process is started."""
        return self._start(setup)


@contextmanager
def instructions(caller: ManualPhone, callee: ManualPhone, wait_s: float, scratch: Path) -> Iterator[str]:
    """Give the user's instructions as text; the files that they name are in `scratch` until the context ends."""
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with scratch_folder("by-hand-", scratch) as folder:
        said = speech(caller.setup.speech, 8000, caller.setup.seconds)
        write_wav(folder / "speech.wav", said.samples, said.sample_rate)
        lines = [
            f"The path is open. RTP that starts within {wait_s:g} s is captured and scored, with any codec,",
            f"until it stops for {QUIET_S:g} s or you press Ctrl-C here.",
            f"Let each phone play {folder / 'speech.wav'} ({said.seconds:.0f} s, {said.name}) once.",
        ]
        for end, other, does in (
            (callee, caller, f"answer (`answer`); it is {callee.uri}"),
            (caller, callee, f"dial {callee.uri} (`call {callee.uri}`)"),
        ):
            setup = end.setup
            home = folder / setup.user
            (home / ".local/share/linphone").mkdir(parents=True)
            (home / "linphonerc").write_text(linphone_settings(setup, [codec_of(setup.codec)]))
            run = f"earwitness lab run {setup.user} --"
            lines += [
                f"{setup.user}: bind SIP to {setup.address}:{setup.sip_port} (UDP), RTP to {setup.address}:"
                f"{setup.rtp_port}, RTCP to port {setup.rtp_port + 1}; the other end is {other.setup.address}.",
                f"  {run} YOUR-PHONE, for example, with these already set:",
                f"  {run} env HOME={home} PULSE_RUNTIME_PATH={home / 'pulse'} linphonec -c {home / 'linphonerc'}",
                f"  at its prompt: `soundcard use files`, `play {folder / 'speech.wav'}`; {does}",
            ]
        yield "\n".join(lines)


@contextmanager
def _ctrl_c() -> Iterator[asyncio.Event]:
    """Let Ctrl-C end a wait instead of the command, until leaving."""
    pressed = asyncio.Event()
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    # Signals can be handled in the main thread only; elsewhere Ctrl-C keeps its effect.
    with suppress(ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGINT, pressed.set)
    try:
        yield pressed
    finally:
        with suppress(ValueError, RuntimeError):
            if loop.remove_signal_handler(signal.SIGINT):
                signal.signal(signal.SIGINT, before)


async def _sleep(pressed: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(pressed.wait(), seconds)


if TYPE_CHECKING:
    _kind: Phones = ManualPhones({}, 0.0)
