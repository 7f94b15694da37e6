"""Calls between a real softphone and the built-in phone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earwitness.errors import CallFailure, Outcome
from earwitness.phone import kamailio
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.linphone import LinphonePhone
from earwitness.phone.linphone_log import LinphoneLog
from earwitness.phone.setup import SipServer
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from earwitness.speech.wav import read_wav, resample
from testing.phone.calls import NewHost, SetupOf, every_request_was_answered, run

pytestmark = pytest.mark.realtime
needs_linphone = pytest.mark.skipif(shutil.which("linphonec") is None, reason="linphone-cli is not installed")
needs_kamailio = pytest.mark.skipif(
    shutil.which("kamailio", path="/usr/sbin:/usr/bin") is None, reason="kamailio is not installed"
)


RATE = 8000
PART = RATE // 2
REACH = RATE // 10
"""A part of what was said may be so far, either way, from where the whole is."""
ALIKE = 0.8
"""42 recordings of calls had 0.90 (Speex) to 1.00 (G.711), machine idle or busy; other speech had at most 0.17."""


def likeness(heard: NDArray[np.int16], said: NDArray[np.int16]) -> float:
    """How like what was said the recording is, both at 8 kHz: 1 for the same, about 0 for anything else.

    The median, over each half second of speech, of its highest normalised correlation with what was heard about there.
    Not that of the whole: where a jitter buffer leaves out or puts in 10 ms, one alignment fits what came before, and
    another what follows.
    """
    heard, said = heard.astype(np.float64), said.astype(np.float64)
    size = 1 << (len(said) + len(heard)).bit_length()
    crossed = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    at = int(np.argmax(np.roll(crossed, len(said)))) - len(said)
    padded = np.concatenate([np.zeros(len(said) + REACH), heard, np.zeros(len(said) + REACH)])
    found = []
    for begin in range(0, len(said) - PART + 1, PART):
        part = said[begin : begin + PART]
        if np.sum(part**2) < 0.1 * np.sum(said**2) * PART / len(said):
            continue  # a pause
        first = len(said) + at + begin  # in `padded`, which begins that and REACH earlier
        around = padded[first : first + PART + 2 * REACH]
        loudness = np.sqrt(np.convolve(around**2, np.ones(PART), "valid") * np.sum(part**2))
        found.append(float(np.max(np.correlate(around, part, "valid") / np.maximum(loudness, 1.0))))
    return float(np.median(found))


def test_likeness_is_of_the_same_words_alone() -> None:
    seconds = 4
    whole = speech(DEFAULT_SPEECH, sample_rate=RATE).samples
    said = whole[: seconds * RATE]
    silence = np.zeros(RATE // 4, dtype=np.int16)
    skipped = np.concatenate([silence, said[: RATE * 2], said[RATE * 2 + 80 :]])
    assert likeness(skipped, said) > 0.99
    noise = np.random.default_rng(1).normal(0.0, 3000.0, len(said)).astype(np.int16)
    for name, heard in {
        "silence": np.zeros_like(said),
        "noise": noise,
        "what she said next": whole[seconds * RATE : 2 * seconds * RATE],
        "another voice": speech("carlo-10s", sample_rate=RATE).samples[: seconds * RATE],
        "backwards": said[::-1],
        "a quarter of it, and silence": np.concatenate([said[: seconds * RATE // 4], np.zeros_like(said)]),
    }.items():
        assert likeness(heard, said) < ALIKE / 2, name


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
        recording, rate = read_wav(tmp_path / f"{codec}.wav")
        said = speech(DEFAULT_SPEECH, sample_rate=RATE).samples[: round(seconds * RATE)]
        assert likeness(resample(recording, rate, RATE), said) > ALIKE, codec


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

    async def all_at_once() -> tuple[CallFailure, CallFailure, CallFailure]:
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
        async with kamailio.start_kamailio(middle, tmp_path, users) as server:

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
