"""Calls between a real softphone and the built-in phone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from earwitness.errors import CallFailure, Outcome
from earwitness.phone import kamailio
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.linphone import LinphonePhone
from earwitness.phone.linphone_log import LinphoneLog
from earwitness.phone.report import PhoneReport
from earwitness.phone.setup import SipServer
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from earwitness.speech.wav import read_wav

from .test_calls import NewHost, SetupOf, every_request_was_answered, run

pytestmark = pytest.mark.realtime
needs_linphone = pytest.mark.skipif(shutil.which("linphonec") is None, reason="linphone-cli is not installed")
needs_kamailio = pytest.mark.skipif(
    shutil.which("kamailio", path="/usr/sbin:/usr/bin") is None, reason="kamailio is not installed"
)


def likeness(recording: Path, seconds: float) -> float:
    """Highest normalised correlation of the recording with what was said, over all alignments."""
    heard, rate = read_wav(recording)
    said = speech(DEFAULT_SPEECH, sample_rate=8000).samples[: round(seconds * 8000)].astype(np.float64)
    heard = heard[:: rate // 8000].astype(np.float64)
    size = 1 << int(np.ceil(np.log2(len(said) + len(heard))))
    crossed = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    return float(np.max(np.abs(crossed)) / np.linalg.norm(said) / np.linalg.norm(heard))


@needs_linphone
@pytest.mark.parametrize(
    ("codecs", "linphone_calls"), [(("g711u", "gsm", "speex", "opus:24000"), True), (("g711a", "opus:24000"), False)]
)
def test_calls_with_linphone(
    new_host: NewHost, setup_of: SetupOf, tmp_path: Path, codecs: tuple[str, ...], linphone_calls: bool
) -> None:
    seconds = 4.0

    async def one(codec: str) -> tuple[PhoneReport, PhoneReport]:
        ours, theirs = new_host("ours"), new_host("theirs")
        options = {"codec": codec, "seconds": seconds}
        async with (
            BuiltinPhone.start(ours, setup_of(ours, **options)) as builtin,
            LinphonePhone.start(theirs, setup_of(theirs, **options), tmp_path / f"{codec}.wav") as linphone,
        ):
            if linphone_calls:
                await builtin.listen()
                await linphone.call(builtin.uri, 10)
                await linphone.finish(0.5)
                assert await builtin.wait_ended(5)
            else:
                await linphone.listen()
                await builtin.call(linphone.uri, 10)
                await linphone.wait_answered(5)
                await builtin.finish(0.5)
                assert await linphone.wait_ended(5)
            await linphone.hang_up()
            return await builtin.report(), await linphone.report()

    async def all_at_once() -> list[tuple[PhoneReport, PhoneReport]]:
        return await asyncio.gather(*(one(codec) for codec in codecs))

    for codec, (mine, other) in zip(codecs, run(all_at_once()), strict=True):
        every_request_was_answered(mine)
        assert mine.packets_sent == other.packets_received == 200, codec
        assert other.packets_lost == 0
        assert mine.packets_received > 190
        assert other.packets_sent == pytest.approx(mine.packets_received, abs=3)
        assert {mine.ended_by, other.ended_by} == {"local", "remote"}
        order = ("invite_sent" if linphone_calls else "invite_received", "answered", "ack", "bye", "ended")
        times = [other.milestones[name] for name in order]
        assert times == sorted(times)
        assert likeness(tmp_path / f"{codec}.wav", seconds) > 0.7, codec


@needs_linphone
def test_linphone_refused(new_host: NewHost, setup_of: SetupOf, tmp_path: Path) -> None:
    async def one(refuse_with: int) -> CallFailure:
        ours, theirs = new_host("ours"), new_host("theirs")
        async with (
            BuiltinPhone.start(ours, setup_of(ours, codec="gsm")) as builtin,
            LinphonePhone.start(theirs, setup_of(theirs, codec="g711u"), tmp_path / f"{refuse_with}.wav") as linphone,
        ):
            await builtin.listen(refuse_with=refuse_with)
            with pytest.raises(CallFailure) as caught:
                await linphone.call(builtin.uri, 5)
            return caught.value

    async def all_at_once() -> list[CallFailure]:
        return await asyncio.gather(one(486), one(480), one(0))

    busy, away, codec = run(all_at_once())
    assert (busy.outcome, away.outcome, codec.outcome) == (
        Outcome.CALL_REJECTED,
        Outcome.NO_ANSWER,
        Outcome.CALL_REJECTED,
    )
    assert [failure.evidence["status"] for failure in (busy, away, codec)] == [486, 480, 488]


@needs_linphone
@needs_kamailio
def test_linphone_through_kamailio(new_host: NewHost, setup_of: SetupOf, tmp_path: Path) -> None:
    ours, theirs, middle = new_host("ours"), new_host("theirs"), new_host("server")
    users = {"ours": "a password", "theirs": "another"}

    async def scenario() -> tuple[PhoneReport, PhoneReport]:
        async with kamailio.start(middle, tmp_path, users) as server:

            def account(user: str, password: str) -> SipServer:
                return SipServer(server.address, user, password, server.port, server.domain)

            wrong = setup_of(theirs, server=account("theirs", "wrong"))
            async with LinphonePhone.start(theirs, wrong, tmp_path / "wrong.wav") as linphone:
                with pytest.raises(CallFailure) as caught:
                    await linphone.register()
                assert caught.value.outcome is Outcome.AUTH_FAILED
            async with (
                BuiltinPhone.start(ours, setup_of(ours, server=account("ours", users["ours"]))) as builtin,
                LinphonePhone.start(
                    theirs, setup_of(theirs, server=account("theirs", users["theirs"])), tmp_path / "right.wav"
                ) as linphone,
            ):
                await asyncio.gather(builtin.register(), linphone.register())
                await builtin.listen()
                await linphone.call(builtin.uri, 10)
                await linphone.finish(0.5)
                assert await builtin.wait_ended(5)
                return await builtin.report(), await linphone.report()

    mine, other = run(scenario())
    every_request_was_answered(mine)
    assert mine.packets_received > 90
    text = "".join(entry.text for entry in other.sip)
    assert "response=" not in text
    assert "407" in text


SAMPLE = """linphonec> call sip:bob@127.0.0.9
2026-01-02 03:04:05:678 belle-sip-message-channel [0x1]: message sent to [UDP://127.0.0.9:5060], size: [{size}] bytes
INVITE sip:bob@127.0.0.9 SIP/2.0
CSeq: 20 INVITE
Proxy-Authorization: Digest username="x", response="0123"

v=0
2026-01-02 03:04:05:700 belle-sip-message-channel [0x1]: received [42] new bytes from [UDP://127.0.0.9:5060]:
SIP/2.0 486 Busy Here
CSeq: 20 INVITE

linphonec> Call 1 with sip:bob@127.0.0.9 error.
"""


def test_its_output_is_read_without_secrets() -> None:
    log = LinphoneLog()
    for number, line in enumerate(SAMPLE.format(size=130).splitlines()):
        log.line(line, number)
    assert log.over
    assert log.invite_status == 486
    assert "0123" not in "".join(entry.text for entry in log.sip)
    assert [(entry.sent, entry.peer) for entry in log.sip] == [(True, "127.0.0.9:5060"), (False, "127.0.0.9:5060")]
    assert log.milestones["invite_sent"] == 1
