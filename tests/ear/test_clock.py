"""The playing clock of a captured phone: how far it is known, and what was not heard because the phone did not play."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earwitness.ear.base import Fate
from earwitness.ear.clock import PhoneClock, playing_clock
from earwitness.ear.hear import Heard
from earwitness.ear.listen import listen_to_capture
from earwitness.score.played import estimate_played
from earwitness.speech.codecs.registry import codec
from earwitness.trace.capture import parse_capture
from testing.ear.traces import trace_of, voice
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream, together

MS = 1_000_000
PACKETS = 400


def heard_by_phone(*others: list[Datagram]) -> Heard:
    """What the phone heard of a network that delays all of 8 s by 60 ms, by its own clock."""
    received = rtp_stream("." * PACKETS, start_ns=START_NS + 60 * MS)
    capture = parse_capture(pcap(together(received, *others), nanoseconds=True))
    (heard,) = listen_to_capture(capture, ["pjmedia"], to=PHONE[0])
    return heard


def sent(first: int, count: int, **changes: Any) -> list[Datagram]:
    """What the phone sent from packet `first` of the call on."""
    return rtp_stream(
        "." * count, ssrc=50, start_ns=START_NS + (first * 20 + 3) * MS, source=PHONE, destination=SERVER, **changes
    )


def bye(time_ns: int) -> Datagram:
    head = b"BYE sip:7@10.8.0.2 SIP/2.0\r\nCall-ID: abc\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    return Datagram(time_ns, head, (SERVER[0], 5060), (PHONE[0], 5060))


@pytest.mark.parametrize(
    ("first", "count", "known"),
    [(PACKETS // 2, PACKETS // 2, "4.0 of 8.0 s"), (0, 50, "1.0 of 8.0 s"), (100, 50, "1.0 of 8.0 s")],
)
def test_a_phone_that_sends_for_a_part_of_the_call_plays_all_of_it(first: int, count: int, known: str) -> None:
    heard = heard_by_phone(sent(first, count))
    assert heard.shares["played_ratio"] == 1.0
    assert heard.shares["concealed_ratio"] == 0.0
    (note,) = heard.notes
    assert known in note
    assert (estimate_played(heard, codec("g711u")).mos_lqe or 0.0) > 4.4


def test_a_phone_that_restarts_its_numbering_plays_on() -> None:
    half = PACKETS // 2
    heard = heard_by_phone([*sent(0, half), *sent(half, half, timestamp=160, sequence=20_000)])
    assert heard.shares["played_ratio"] == 1.0
    assert heard.shares["concealed_ratio"] == 0.0
    assert heard.notes == ()


def test_what_comes_after_the_end_of_the_call_is_neither_heard_nor_discarded() -> None:
    heard = heard_by_phone(sent(0, 300), [bye(START_NS + 6_010 * MS)])
    assert heard.account.frames_with(Fate.UNHEARD) == 2 * (PACKETS - 297)
    assert heard.shares["played_ratio"] == 1.0
    assert not heard.discarded.any()
    assert set(heard.ledger["fate"]) >= {"played", "unheard"}
    (note,) = heard.notes
    assert note.startswith(f"{PACKETS - 297} packets arrived before the phone began to play or after it had ended")
    assert (estimate_played(heard, codec("g711u")).mos_lqe or 0.0) > 4.4


def test_a_bye_of_a_former_or_of_another_call_does_not_end_this_one() -> None:
    former = heard_by_phone(sent(0, 200), [bye(START_NS + 1000 * MS)])
    assert former.account.frames_with(Fate.UNHEARD) == 0
    waiting = bye(START_NS + 5000 * MS)
    waiting = replace(waiting, payload=waiting.payload.replace(b"Call-ID: abc", b"Call-ID: xyz"))
    known = invite(f"m=audio {PHONE[1]} RTP/AVP 0\r\n")
    assert heard_by_phone(sent(0, 200), [known, waiting]).account.frames_with(Fate.UNHEARD) == 0
    assert heard_by_phone(sent(0, 200), [waiting]).account.frames_with(Fate.UNHEARD) > 0


def test_what_the_capturing_phone_sent_is_not_played_by_the_jitter_of_what_it_received() -> None:
    delay = np.random.default_rng(3).gamma(2.0, 18.0, PACKETS).tolist()
    received = rtp_stream("." * PACKETS, start_ns=START_NS + 60 * MS, delay_ms=delay.__getitem__)
    capture = parse_capture(pcap(together(received, sent(0, PACKETS)), nanoseconds=True))
    (heard,) = listen_to_capture(capture, ["pjmedia"], to=SERVER[0])
    assert heard.shares["played_ratio"] == 1.0
    assert heard.shares["concealed_ratio"] == 0.0


def test_what_comes_while_the_sound_device_starts_is_not_heard() -> None:
    heard = heard_by_phone(sent(10, PACKETS - 10))
    assert heard.account.frames_with(Fate.UNHEARD) == 2 * 8
    assert heard.shares["played_ratio"] == 1.0


def test_ticks_of_any_length_follow_the_packets() -> None:
    outgoing = trace_of(codec("g711u"), voice(2.0))
    begin = int(outgoing.arrived_ns[0])
    for tick_ms in (7.0, 20.0, 40.0):
        ticks = playing_clock(outgoing, tick_ms)
        assert np.abs(np.diff(ticks) - tick_ms * MS).max() <= 1
        assert ticks[0] == begin
        assert ticks[-1] <= outgoing.arrived_ns[-1]


def test_a_clock_of_another_time_is_none() -> None:
    outgoing = trace_of(codec("g711u"), voice(1.0))
    end = int(outgoing.arrived_ns[-1])
    clock = PhoneClock(replace(outgoing, notes=()))
    assert clock.ticks(20 * MS, end + 1000 * MS, end + 2000 * MS) is None
    day = 86_400 * 1_000_000_000
    far = clock.ticks(20 * MS, end - day, end)
    assert far is not None
    assert len(far.at_ns) <= 50
