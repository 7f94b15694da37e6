"""Which direction a capturing phone received: by what it is told, and which streams belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.ear.listen import choose_stream
from earwitness.trace import directions as module
from earwitness.trace.capture import Capture, parse_capture, read_capture
from earwitness.trace.directions import Seen, directions, opposite
from earwitness.trace.report import choose_streams, time_streams
from earwitness.trace.series import arrivals
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, described, invite, pcap, rtp_stream, together

BACK: dict[str, Any] = {"source": PHONE, "destination": SERVER}


def read(*streams: list[Datagram]) -> Capture:
    return parse_capture(pcap(together(*streams), nanoseconds=True))


def jittery(most_ms: float, seed: int = 1) -> Callable[[int], float]:
    chance = np.random.default_rng(seed).uniform(0, most_ms, 70_000)
    return lambda packet: float(chance[packet])


def test_a_drifting_sound_device_is_not_a_network() -> None:
    count = 15_000  # 5 minutes, in which 240 ppm are 72 ms
    received = rtp_stream("." * count, ssrc=1, payload=b"\xff" * 8, delay_ms=jittery(20))
    drifting = rtp_stream("." * count, ssrc=2, payload=b"\xff" * 8, delay_ms=lambda i: 20 * i * 240e-6, **BACK)
    capture = read(received, drifting)
    assert {one.ssrc: seen.direction for one, seen in directions(capture).items()} == {1: "received", 2: "sent"}
    assert choose_stream(capture).heard.ssrc == 1


def test_a_guess_is_told_as_one() -> None:
    there, back = rtp_stream("." * 301, ssrc=1, delay_ms=jittery(40)), rtp_stream("." * 300, ssrc=2, **BACK)
    capture = read(there, back)
    timed = time_streams(capture, capture.streams)
    assert [(one.direction, one.direction_from) for one in timed] == [("received", "jitter"), ("sent", "jitter")]
    assert timed[0].to_dict()["direction_from"] == "jitter"
    assert "received (by its jitter)" in choose_stream(capture).why
    assert (str(Seen("sent", "SIP")), str(Seen("sent", "capture")), str(Seen())) == (
        "sent (by its answers to SIP)",
        "sent",
        "unknown",
    )


def test_a_second_call_between_the_same_hosts_has_its_own_other_direction() -> None:
    streams = []
    for number, count in enumerate((300, 200, 100)):
        ends = (SERVER[0], 6000 + 2 * number), (PHONE[0], 4000 + 2 * number)
        streams += rtp_stream("." * count, ssrc=10 + number, source=ends[0], destination=ends[1])
        streams += rtp_stream("." * count, ssrc=20 + number, source=ends[1], destination=ends[0])
    capture = read(streams)
    pairs = {one.ssrc: found.ssrc for one in capture.streams if (found := opposite(capture, one)) is not None}
    assert pairs == {10: 20, 20: 10, 11: 21, 21: 11, 12: 22, 22: 12}


def test_a_phone_that_sends_from_another_port_has_an_other_direction() -> None:
    asymmetric = rtp_stream("." * 100, ssrc=2, source=(PHONE[0], 4444), destination=SERVER)
    capture = read(rtp_stream("." * 100, ssrc=1), asymmetric)
    found = opposite(capture, capture.streams[0])
    assert found is not None
    assert found.ssrc == 3 - capture.streams[0].ssrc


def test_a_later_call_on_the_same_ports_is_not_the_other_direction() -> None:
    media = "m=audio 4000 RTP/AVP 0\r\n"
    again = invite(media, START_NS + 5_000_000_000)
    again = Datagram(again.time_ns, again.payload.replace(b"Call-ID: abc", b"Call-ID: xyz"), again.source)
    again = Datagram(again.time_ns, again.payload, ("10.8.0.2", 5060), ("10.8.0.1", 5060))
    later = rtp_stream("." * 60, ssrc=2, start_ns=START_NS + 6_000_000_000, **BACK)
    capture = read([invite(media)], rtp_stream("." * 100, ssrc=1), [again], later)
    assert [one.call for one in capture.streams] == [0, 1]
    assert opposite(capture, capture.streams[0]) is None


def test_the_other_direction_is_the_whole_talk_however_the_stream_was_chosen() -> None:
    sent = [
        rtp_stream("." * 100, ssrc=50, **BACK),
        rtp_stream("." * 80, ssrc=51, start_ns=START_NS + 2 * 10**9, **BACK),
    ]
    capture = read(rtp_stream("." * 200, ssrc=1, delay_ms=jittery(30)), *sent)
    for chosen in (choose_stream(capture), choose_stream(capture, stream="1"), choose_stream(capture, to=PHONE[0])):
        assert chosen.sent is not None
        assert len(chosen.sent.trace) == 180


def test_of_other_streams_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [rtp_stream("." * 20, ssrc=number, destination=(PHONE[0], 5000 + number)) for number in range(2, 12)]
    capture = read(rtp_stream("." * 50, ssrc=1), rtp_stream("." * 40, ssrc=99, **BACK), *others)
    asked: list[int] = []

    def counted(trace: Any) -> Any:
        asked.append(trace.ssrc)
        return arrivals(trace)

    monkeypatch.setattr(module, "arrivals", counted)
    (timed,) = time_streams(capture, choose_streams(capture, stream="1"))
    assert timed.stream.ssrc == 1
    assert asked == [99]


def test_a_known_codec_is_said_to_have_decided() -> None:
    unknown = rtp_stream("." * 90, ssrc=2, payload_type=107, payload=b"\1" * 33)
    capture = read(unknown, rtp_stream("." * 50, ssrc=1, destination=(PHONE[0], 4020)))
    assert "the audio of a known codec with the most packets" in choose_stream(capture).why
    capture = read(rtp_stream("." * 90, ssrc=2), rtp_stream("." * 50, ssrc=1, destination=(PHONE[0], 4020)))
    assert "the audio with the most packets" in choose_stream(capture).why


@pytest.mark.published
def test_published_captures_at_the_callee_are_heard_there(published: Path) -> None:
    folder = published / "05-data/Sample-Raw-Data/Non-Tor/g711"
    found = [read_capture(path) for path in sorted(folder.glob("*/*/callee/data/test_pcaps/*_0.pcap"))]
    # The callee's own packets stall in one of them for a moment, by 60 ms.
    heard = [choose_stream(capture).heard.flow.destination for capture in found if capture.streams]
    assert heard == ["10.8.0.1"] * 5


@pytest.mark.parametrize(
    ("near_ms", "far_ms", "known"), [(0.6, 0.2, False), (3, 5, False), (1, 90, True), (40, 140, True)]
)
def test_answers_tell_the_direction_only_where_one_end_is_clearly_slower(
    near_ms: float, far_ms: float, known: bool
) -> None:
    """Programs take milliseconds to answer, at either end."""
    here, there = "10.8.0.2", "10.8.0.1"
    sip = [
        described("", here, to=there, first="INVITE sip:a@b SIP/2.0", time_ns=START_NS),
        described("", there, to=here, first="SIP/2.0 180 Ringing", time_ns=START_NS + round(far_ms * 1e6)),
        described("", there, to=here, first="BYE sip:a@b SIP/2.0", time_ns=START_NS + 10**9),
        described("", here, to=there, first="SIP/2.0 200 OK", time_ns=START_NS + 10**9 + round(near_ms * 1e6)),
    ]
    streams = rtp_stream("." * 50, ssrc=1), rtp_stream("." * 50, ssrc=2, source=PHONE, destination=SERVER)
    capture = parse_capture(pcap(together(sip, *streams)))
    told = {stream.ssrc: seen.direction for stream, seen in directions(capture).items()}
    assert told == ({1: "received", 2: "sent"} if known else {1: "unknown", 2: "unknown"})
