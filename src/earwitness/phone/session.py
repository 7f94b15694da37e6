"""One call of the built-in phone: SIP and media combined, its milestones, and its report."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.phone import sdp
from earwitness.phone.call_report import PhoneReport, RtcpReport
from earwitness.phone.encoded_speech import EncodedSpeech
from earwitness.phone.media import Media, MediaEvents, bind_udp
from earwitness.phone.pacer import SendingTimes, prefer_punctuality
from earwitness.phone.reachable import Reach, Unreachable
from earwitness.phone.setup import PhoneSetup
from earwitness.phone.sip_digest import SipAccount
from earwitness.phone.sip_transactions import SipTransactions, Timers
from earwitness.phone.sip_wire import endpoint_of
from earwitness.phone.user_agent import UserAgent
from earwitness.phone.user_agent_server import IncomingInvite
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.untrusted import LONGEST_TEXT, fit

Notify = Callable[[str, dict[str, object]], None]
"""Called with each event for the process that controls the phone: its name and values."""

BYE_TIMEOUT_S = 5.0
_MOST_NOTES = 20


class PhoneSession:
    """A phone that is ready: ports bound, speech encoded. Made by `open`; used in one event loop."""

    def __init__(self, setup: PhoneSetup, notify: Notify) -> None:
        self.setup = setup
        self.milestones: dict[str, int] = {}
        self.role = "idle"
        self.ended = asyncio.Event()
        self.confirmed = asyncio.Event()
        self._notify = notify
        self._codecs: list[Codec] = [codec_of(spec) for spec in (setup.codec, *setup.accepts)]
        self._speech = EncodedSpeech(setup)
        self._agreed: sdp.AgreedMedia | None = None
        self._ended_by = ""
        self._bye_status: int | None = None
        self._no_media = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ring_s, self._refusal = 0.0, 0
        self._loop = asyncio.get_running_loop()
        self._spoken = asyncio.Event()
        events = MediaEvents(
            first_received=lambda at_ns: self._from_thread(self._milestone, "first_rtp_received", at_ns),
            speech_ended=lambda: self._from_thread(self._speech_ended),
        )
        random = Random(f"{setup.seed} {setup.address} {setup.rtp_port}")
        self._media = Media(setup.address, setup.rtp_port, setup.epoch_offset_ns, random, setup.rtcp_minimum_s, events)
        self._layer = SipTransactions(Timers(setup.t1_s), self.now_ns, Reach(setup.address, setup.peers))
        self._agent = UserAgent(self._layer, setup.user, _account(setup))
        self._agent.on_ended = self._remote_ended
        self._agent.on_refused = lambda why: self._note(f"refused a call: {why}")
        self._noted = 0
        self._scheduling = "normal"

    @classmethod
    async def open(cls, setup: PhoneSetup, notify: Notify) -> PhoneSession:
        """Encode the speech and bind the ports. CallFailure (PORT_TAKEN, SPEECH_UNUSABLE), InputError for the codec."""
        session = cls(setup, notify)
        for codec in session._codecs:
            session._speech.encoded(codec)
        sock = bind_udp(setup.address, setup.sip_port, "SIP")
        await session._loop.create_datagram_endpoint(lambda: session._layer, sock=sock)
        try:
            session._media.open()
        except CallFailure:
            session._layer.close()
            raise
        # Everything allocated so far lives until the call is over, so exempt it from garbage collection.
        gc.collect()
        gc.freeze()
        gc.disable()
        session._scheduling = prefer_punctuality()
        return session

    @property
    def uri(self) -> str:
        """The URI that the other phone dials."""
        return self._agent.uri

    def now_ns(self) -> int:
        """Time on the call's clock, ns."""
        return time.monotonic_ns() + self.setup.epoch_offset_ns

    async def register(self) -> None:
        """Register with the server of the setup."""
        await self._agent.register()
        self._milestone("registered")

    def listen(self, ring_s: float = 0.0, refuse_with: int = 0) -> None:
        """Answer the next call after ringing `ring_s`, or refuse every call with a status."""
        self._ring_s, self._refusal = ring_s, refuse_with
        self._agent.on_invite = lambda invite: self._spawn(self._answer(invite))

    async def call(self, uri: str, timeout_s: float) -> None:
        """Call `uri` and start speaking when it answers. CallFailure for any other outcome."""
        self.role = "caller"
        codecs = self._codecs[:1]
        offer = sdp.offer(codecs, self.setup.address, self.setup.rtp_port, secrets.randbits(31))
        self._agent.session_description = offer

        def provisional(response: object) -> None:
            if getattr(response, "status_code", 100) > 100:
                self._milestone("first_provisional")

        try:
            answer = await self._agent.invite(
                uri, offer, timeout_s, provisional, lambda: self._milestone("invite_sent")
            )
        except OSError as error:
            raise CallFailure(
                Outcome.NO_ANSWER, "calling", on=uri, happened=error, remedy="give an address that resolves"
            ) from error
        self._milestone("answered")
        self._milestone("ack")
        try:
            agreed = sdp.agreed_by(answer.text, codecs)
            self._layer.may_send_to(agreed.remote)
            self._agreed = agreed
        except (sdp.NotAcceptable, Unreachable) as error:
            await self.hang_up()
            raise CallFailure(
                Outcome.CALL_REJECTED,
                "calling",
                on=uri,
                happened=f"the answer has {error}"
                if isinstance(error, sdp.NotAcceptable)
                else f"the answer directs RTP to a forbidden address: {error}",
                remedy="choose another codec"
                if isinstance(error, sdp.NotAcceptable)
                else "see the SIP dialog in the evidence, and ask the operator of the other phone",
            ) from error
        self._start_media()

    async def finish(self, tail_s: float) -> None:
        """Wait until both ends have spoken and `tail_s` more, then hang up, or until the far end hangs up."""
        if "answered" not in self.milestones:
            return
        setup = self.setup
        speech = self._speech.encoded(self._codecs[0]).seconds
        remote_speech = setup.remote_seconds if setup.remote_seconds is not None else speech
        spoken = asyncio.create_task(self._spoken.wait())
        ended = asyncio.create_task(self.ended.wait())
        await asyncio.wait({spoken, ended}, return_when=asyncio.FIRST_COMPLETED)
        spoken.cancel()
        heard_from = self.milestones.get("first_rtp_received", self.milestones["answered"])
        remote_left = heard_from / 1e9 + remote_speech - self.now_ns() / 1e9
        await asyncio.wait({ended}, timeout=max(0.0, remote_left) + tail_s)
        ended.cancel()
        await self.hang_up()

    async def hang_up(self) -> None:
        """Send BYE over SIP and RTCP, if there is a call; it has ended when this returns."""
        if self.ended.is_set() or "answered" not in self.milestones:
            return
        self._media.silence()
        self._milestone("bye")
        self._ended_by = self._ended_by or "local"
        self._bye_status = await self._agent.bye(BYE_TIMEOUT_S)
        self._end()

    async def close(self) -> None:
        """Hang up, deregister, and free the ports."""
        for task in self._tasks:
            task.cancel()
        await self.hang_up()
        if "registered" in self.milestones:
            try:
                await asyncio.wait_for(self._agent.register(0), 2.0)
            except (EarwitnessError, TimeoutError):
                self._notify("note", {"text": "the registration was left to expire"})
        self._layer.close()
        self._media.close()

    def report(self) -> PhoneReport:
        """Return the report of the call so far; complete once it has ended."""
        media, sender, rtcp = self._media, self._media.sender, self._media.rtcp
        reception = media.main_reception
        milestones = dict(self.milestones)
        if media.first_sent_ns is not None:
            milestones["first_rtp_sent"] = media.first_sent_ns
        sent = len(sender.deviations_ns) if sender is not None else 0
        speech = self._speech.encoded(self._agreed.codec) if self._agreed else None
        return PhoneReport(
            uri=self.uri,
            role=self.role,
            codec=self._agreed.codec.encoding_name if self._agreed else "",
            payload_type=self._agreed.send_payload_type if self._agreed else None,
            milestones=dict(sorted(milestones.items(), key=lambda item: item[1])),
            sending=SendingTimes.of(sender.deviations_ns) if sender is not None else None,
            scheduling=self._scheduling,
            packets_sent=sent,
            packets_suppressed=len(speech.payloads) - speech.sent if speech else 0,
            packets_refused=sender.refused if sender is not None else 0,
            packets_received=media.packets_received,
            packets_lost=reception.lost if reception is not None else 0,
            jitter_ms=reception.jitter_ms if reception is not None else None,
            stray=media.stray,
            ssrc=media.ssrc,
            remote_ssrcs=tuple(media.receptions),
            rtcp=RtcpReport.of(rtcp) if rtcp is not None else RtcpReport(),
            no_media=self._no_media or ("answered" in milestones and media.packets_received == 0),
            ended_by=self._ended_by,
            bye_status=self._bye_status,
            sip=tuple(self._layer.log),
        )

    async def _answer(self, invite: IncomingInvite) -> None:
        """Ring, answer with what the offer and we have in common, and speak once the caller has acknowledged."""
        self.role = "callee"
        self.milestones = {name: at for name, at in self.milestones.items() if name == "registered"}
        self._milestone("invite_received")
        if self._refusal:
            self._agent.refuse(invite, self._refusal)
            return
        session_id = secrets.randbits(31)
        try:
            text, agreed = sdp.sdp_answer(
                invite.offer, self._codecs, self.setup.address, self.setup.rtp_port, session_id
            )
            self._layer.may_send_to(agreed.remote)
        except (sdp.NotAcceptable, Unreachable) as error:
            offers = "offers" if isinstance(error, sdp.NotAcceptable) else "directs RTP to a forbidden address:"
            self._note(f"refused a call: it {offers} {error}")
            self._agent.refuse(invite, 488)
            return
        self._agent.ring(invite)
        self._milestone("first_provisional")
        cancelled = asyncio.create_task(invite.cancelled.wait())
        await asyncio.wait({cancelled}, timeout=self._ring_s)
        cancelled.cancel()
        if invite.cancelled.is_set():
            return
        self._agreed = agreed
        self._agent.answer(invite, text)
        self._milestone("answered")
        await invite.acknowledged.wait()
        self._milestone("ack")
        if not self.ended.is_set():
            self._start_media()

    def _start_media(self) -> None:
        assert self._agreed is not None
        agreed = self._agreed
        self._media.start(self._speech.encoded(agreed.codec), agreed.remote, agreed.send_payload_type)
        self.confirmed.set()
        self._notify("confirmed", {})
        self._loop.call_later(self.setup.no_media_s, self._look_for_media)

    def _look_for_media(self) -> None:
        if not self._media.packets_received and not self.ended.is_set():
            self._no_media = True
            self._notify("no_media", {"after_s": self.setup.no_media_s})

    def _speech_ended(self) -> None:
        self._milestone("speech_ended")
        self._spoken.set()

    def _remote_ended(self, why: str) -> None:
        self._media.silence()
        self._ended_by = self._ended_by or why
        if why == "remote":
            self._milestone("bye")
            self._end()
        else:
            self._spawn(self.hang_up())

    def _end(self) -> None:
        self._agent.forget_call()
        self._milestone("ended")
        self.ended.set()
        self._notify("ended", {"by": self._ended_by})

    def _milestone(self, name: str, at_ns: int | None = None) -> None:
        if name not in self.milestones:
            self.milestones[name] = self.now_ns() if at_ns is None else at_ns
            self._notify("milestone", {"name": name, "at_ns": self.milestones[name]})

    def _from_thread(self, action: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(action, *arguments)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note(f"the call broke: {error}")

    def _note(self, text: str) -> None:
        """Send a text note to the call's owner; at most `_MOST_NOTES`, however often an unknown peer is refused."""
        self._noted += 1
        if self._noted <= _MOST_NOTES:
            self._notify("note", {"text": fit(text, LONGEST_TEXT)})


def _account(setup: PhoneSetup) -> SipAccount | None:
    server = setup.server
    if server is None:
        return None
    try:
        endpoint = endpoint_of(f"sip:{server.host}:{server.port}")
    except OSError as error:
        raise CallFailure(
            Outcome.REGISTER_FAILED, "finding SIP server", on=server.host, happened=error, remedy="check its name"
        ) from error
    return SipAccount(server.user, server.domain or server.host, endpoint, server.password)
