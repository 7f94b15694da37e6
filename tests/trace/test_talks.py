"""Whose packets they are: doubled captures, changes of SSRC, a second call on the same ports; and directions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earwitness.ear.listen import choose_stream
from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.directions import opposite, seen
from earwitness.trace.report import choose_streams, time_streams
from earwitness.trace.rtp_stream import RtpStream, StreamOptions
from earwitness.trace.talks import talk_of, talks
from earwitness.trace.timing import summarise
from testing.trace.making import (
    PHONE,
    SERVER,
    START_NS,
    Datagram,
    described,
    frames,
    invite,
    pcap,
    rtp_stream,
    together,
)

BACK: dict[str, Any] = {"source": PHONE, "destination": SERVER}
MS = 1_000_000


def read(datagrams: list[Datagram], **options: Any) -> Capture:
    return parse_capture(pcap(datagrams), options=StreamOptions(**options))


def later(count: int, wait_ms: int = 0) -> int:
    """The time of the packet after `count` of them and a wait."""
    return START_NS + (count * 20 + wait_ms) * MS


@pytest.mark.parametrize("packets", [4, 300])
def test_a_mirror_port_captures_every_packet_twice(packets: int) -> None:
    once = rtp_stream("." * packets)
    copies = [Datagram(each.time_ns + 40_000, each.payload) for each in once]
    capture = read(together(once, copies))
    (stream,) = capture.streams
    (found,) = time_streams(capture, [stream])
    assert (found.timing.packets_received, found.timing.packets_duplicate) == (packets, packets)
    assert found.timing.jitter_max_ms < 0.1
    assert any("all is doubled" in note for note in found.notes)


def test_some_second_copies_are_no_mirror_port() -> None:
    (stream,) = read(rtp_stream("..d." * 20)).streams
    assert not any("doubled" in note for note in stream.trace.notes)


def test_a_talker_with_a_new_ssrc_is_one_talker() -> None:
    first = rtp_stream("." * 40, ssrc=1)
    second = rtp_stream("." * 60, ssrc=2, sequence=7, timestamp=2**31, start_ns=later(40, 100))
    third = rtp_stream("." * 50, ssrc=3, sequence=60_000, start_ns=later(100, 200))
    capture = read([*first, *second, *third])
    assert len(capture.streams) == 3
    assert "one after the other" in str(capture.problems[0])
    (talk,) = talks(capture.streams)
    found = summarise(talk.trace)
    assert (len(talk.trace), found.packets_received, found.packets_lost, found.sequence_restarts) == (150, 150, 0, 2)
    assert found.jitter_max_ms == pytest.approx(0.0, abs=1e-6)
    assert talk.ssrc == 2
    assert "0x00000001 to 0x00000002 to 0x00000003" in talk.doubts[0]
    assert talk.trace.payloads is not None
    assert talk.trace.payloads[149] == first[0].payload[12:]


def test_talkers_at_the_same_time_are_apart() -> None:
    capture = read(together(rtp_stream("." * 40, ssrc=1), rtp_stream("." * 60, ssrc=2)))
    assert [len(talk.trace) for talk in talks(capture.streams)] == [60, 40]
    assert "at the same time" in str(capture.problems[0])


def test_after_a_long_silence_a_new_ssrc_is_another_call() -> None:
    capture = read([*rtp_stream("." * 40, ssrc=1), *rtp_stream("." * 60, ssrc=2, start_ns=later(40, 15_000))])
    assert [len(talk.trace) for talk in talks(capture.streams)] == [60, 40]


@pytest.mark.parametrize("ssrc", [1, 2])
def test_a_second_call_on_the_same_ports_is_another_call(ssrc: int) -> None:
    media = "m=audio 4000 RTP/AVP 0\r\n"
    first = [invite(media), *rtp_stream("." * 40, ssrc=1)]
    again = invite(media, later(40, 500))
    changed = again.payload.replace(b"Call-ID: abc", b"Call-ID: xyz")
    again = Datagram(again.time_ns, changed, again.source, again.destination)
    second = rtp_stream("." * 60, ssrc=ssrc, sequence=1040, timestamp=160 + 41 * 160, start_ns=later(40, 1000))
    capture = read([*first, again, *second])
    assert [(len(stream.trace), stream.call) for stream in capture.streams] == [(60, 1), (40, 0)]
    assert [len(talk.trace) for talk in talks(capture.streams)] == [60, 40]


def two_legs() -> list[Datagram]:
    """The signalling of a server between two phones that send their media to each other: each leg has a Call-ID, and
    the answer comes early on one, two seconds later on the other."""
    near, far = "m=audio 4000 RTP/AVP 0\r\n", "m=audio 20848 RTP/AVP 0\r\n"
    ends: dict[str, str] = {"host": PHONE[0], "to": "10.8.0.9"}
    answer: dict[str, str] = {"host": SERVER[0], "to": "10.8.0.9"}
    return [
        described(near, call="a", time_ns=START_NS - 3 * 10**9, **ends),
        described(near, call="b", time_ns=START_NS - 3 * 10**9 + 10**7, **ends),
        described(far, call="b", first="SIP/2.0 183 Progress", time_ns=START_NS - 10**7, **answer),
        described(far, call="a", first="SIP/2.0 200 OK", time_ns=later(100), **answer),
    ]


def test_two_legs_of_one_call_do_not_divide_its_streams() -> None:
    media = together(rtp_stream("." * 500, ssrc=1), rtp_stream("." * 499, ssrc=2, **BACK))
    for signalling in (two_legs(), two_legs()[2:]):
        capture = read(together(signalling, media))
        assert [(one.ssrc, len(one.trace), one.call) for one in capture.streams] == [(1, 500, 0), (2, 499, 0)]
        assert not capture.problems


def test_the_same_ssrc_in_a_second_call_is_no_other_ssrc() -> None:
    calls = [
        described("m=audio 4000 RTP/AVP 0\r\n", call=name, time_ns=later(at)) for name, at in (("a", -50), ("b", 75))
    ]
    first, second = rtp_stream("." * 50, ssrc=1), rtp_stream("." * 40, ssrc=1, start_ns=later(100))
    capture = read(together(calls, first, second))
    assert [(len(one.trace), one.call) for one in capture.streams] == [(50, 0), (40, 1)]
    assert not capture.problems
    # A stray one of the second call is a stray of that call only.
    capture = read(together(calls, first, second, rtp_stream("....", ssrc=2, start_ns=later(110))))
    assert [problem.detail.split(": ")[1] for problem in capture.problems] == [
        "1 more SSRCs with 4 packets besides the 40 of 0x00000001, at the same time"
    ]
    assert [any("more SSRCs" in note for note in one.trace.notes) for one in capture.streams] == [False, True, True]


def test_each_stream_has_the_note_of_its_own_flow_and_the_capture_one_line() -> None:
    packets = []
    for flow in range(40):
        ends: dict[str, Any] = {"source": ("10.9.0.1", 5000 + 2 * flow)}
        packets += [rtp_stream("." * 8, ssrc=2 * flow, **ends), rtp_stream("....", ssrc=2 * flow + 1, **ends)]
    capture = read(together(*packets))
    (problem,) = capture.problems
    assert problem.detail.startswith("40 flows or calls have several SSRCs; the first is 10.9.0.1:")
    for timing in time_streams(capture, capture.streams[:3]):
        own = [note for note in timing.notes if f"{timing.stream.flow}: 1 more SSRCs" in note]
        assert own
        assert len(timing.notes) == 2


def test_a_flood_of_sources_in_two_calls_on_one_port_is_bounded() -> None:
    calls = [
        described("m=audio 4000 RTP/AVP 0\r\n", call=name, time_ns=later(at)) for name, at in (("a", -50), ("b", 75))
    ]
    flood = [replace(rtp_stream(".", ssrc=n)[0], time_ns=START_NS + n * 1000) for n in range(17_000)]
    late = rtp_stream("." * 40, ssrc=99_999, start_ns=later(100))
    capture = read([*calls, *flood, *late])
    assert (capture.streams[0].ssrc, capture.streams[0].call, len(capture.streams)) == (99_999, 1, 256)


def changed(overlap: int, shift_ms: int = 7) -> Capture:
    """A change of SSRC after 150 packets, of which the last `overlap` come after the first of the new SSRC."""
    first = rtp_stream("." * 150, ssrc=1, timestamp=3_000_000)
    start = later(150, shift_ms - 20 * overlap)
    return read(together(first, rtp_stream("." * 150, ssrc=2, sequence=7, timestamp=5_000_000, start_ns=start)))


@pytest.mark.parametrize("overlap", [1, 2, 9])
def test_packets_of_the_old_ssrc_may_come_after_the_first_of_the_new(overlap: int) -> None:
    capture = changed(overlap)
    assert "one after the other" in str(capture.problems[0])
    (talk,) = talks(capture.streams)
    assert (np.diff(talk.trace.arrived_ns) >= 0).all()
    found = summarise(talk.trace)
    assert (found.packets_received, found.packets_lost, found.timestamp_jumps, found.holds) == (300, 0, 0, 0)
    assert found.jitter_max_ms < 5.0
    assert len(choose_stream(capture).heard.trace) == 300


def test_a_network_that_reorders_at_the_change_loses_nothing() -> None:
    for seed in range(3, 8):
        delay = np.random.default_rng(seed).uniform(0, 90, 300).tolist()
        first = rtp_stream("." * 150, ssrc=1, delay_ms=delay.__getitem__)
        second = rtp_stream("." * 150, ssrc=2, start_ns=later(150), delay_ms=delay[150:].__getitem__)
        (talk,) = talks(read(together(first, second)).streams)
        found = summarise(talk.trace)
        assert (found.packets_received + found.packets_duplicate, found.packets_lost) == (300, 0)


def test_talkers_who_overlap_for_longer_are_apart() -> None:
    assert len(talks(changed(14).streams)) == 2
    assert len(talks(read(together(rtp_stream("." * 8, ssrc=1), rtp_stream("." * 90, ssrc=2))).streams)) == 2


def test_a_stray_talker_in_between_does_not_divide_a_talk() -> None:
    first, second = rtp_stream("." * 100, ssrc=1), rtp_stream("." * 100, ssrc=2, start_ns=later(100))
    stray = rtp_stream("." * 30, ssrc=3, start_ns=later(30))
    assert [len(talk.trace) for talk in talks(read(together(first, stray, second)).streams)] == [200, 30]


@pytest.mark.parametrize(("changes", "said"), [(1, "changes once in"), (2, "changes 2 times in"), (11, " 11 times in")])
def test_changes_are_counted_and_their_list_is_bounded(changes: int, said: str) -> None:
    runs = [rtp_stream("." * 20, ssrc=100 + number, start_ns=later(20 * number)) for number in range(changes + 1)]
    (talk,) = talks(read(together(*runs)).streams)
    assert said in talk.doubts[0]
    assert f"0x{100 + changes:08x}); heard" in talk.doubts[0]
    assert len(talk.doubts[0]) < 200


def test_the_talk_of_a_stream_is_the_one_that_it_is_a_part_of() -> None:
    parts = [rtp_stream("." * 60, ssrc=1), rtp_stream("." * 40, ssrc=2, start_ns=later(60))]
    within = rtp_stream("." * 50, ssrc=3, start_ns=later(10))
    streams = {one.ssrc: one for one in read(together(*parts, within)).streams}
    found = talk_of(list(streams.values()))
    assert found[streams[1]] is found[streams[2]]
    assert len(found[streams[1]].trace) == 100
    assert found[streams[3]] is streams[3]


def direction(capture: Capture, stream: RtpStream) -> str:
    return seen(capture, stream, opposite(capture, stream)).direction


def test_the_direction_is_seen_from_the_capturing_phone() -> None:
    scattered = np.random.default_rng(1).uniform(0, 60, 100)
    received = rtp_stream("." * 100, ssrc=1, delay_ms=lambda i: float(scattered[i]))
    capture = read(together(received, rtp_stream("." * 90, ssrc=2, **BACK)))
    assert [direction(capture, stream) for stream in capture.streams] == ["received", "sent"]
    assert [item.to_dict()["direction"] for item in time_streams(capture, choose_streams(capture))] == [
        "received",
        "sent",
    ]
    alone = read(received)
    assert direction(alone, alone.streams[0]) == "unknown"


@pytest.mark.parametrize("version", ["cooked", "cooked2"])
def test_a_cooked_capture_says_the_direction_whatever_the_arrivals_look_like(version: str) -> None:
    scattered = np.random.default_rng(1).uniform(0, 60, 100)
    sent = rtp_stream("." * 100, ssrc=1, delay_ms=lambda i: float(scattered[i]))
    received = rtp_stream("." * 90, ssrc=2, **BACK)
    packets = sorted([*frames(sent, f"{version} sent"), *frames(received, version)])
    capture = parse_capture(pcap(packets, link=version))
    assert [direction(capture, stream) for stream in capture.streams] == ["sent", "received"]
    assert choose_stream(capture).heard.ssrc == 2
    alone = parse_capture(pcap(sent, link=version))
    assert direction(alone, alone.streams[0]) == "received"
    # A router's capture has every packet twice, once each way.
    both = sorted([*frames(sent, version), *frames(sent, f"{version} sent")], key=lambda frame: frame[0])
    routed = parse_capture(pcap(both, link=version))
    assert direction(routed, routed.streams[0]) == "unknown"
