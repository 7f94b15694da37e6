"""What payload types mean and at what rate their clock runs: by SDP in force, by RFC 3551, or by the timestamps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.rtp_stream import RtpStream, StreamOptions
from earwitness.trace.timing import summarise
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, described, invite, pcap, rtp_stream, together

S = 1_000_000_000


def read(datagrams: list[Datagram], **options: Any) -> Capture:
    return parse_capture(pcap(datagrams), options=StreamOptions(**options))


def only(capture: Capture) -> RtpStream:
    (stream,) = capture.streams
    return stream


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000, 90000])
@pytest.mark.parametrize("packets", [6, 30, 400])
def test_the_clock_of_a_short_stream_is_measured_from_its_steps(rate: int, packets: int) -> None:
    stream = only(read(rtp_stream("." * packets, payload_type=96, clock_rate=rate)))
    assert stream.trace.clock_rate == rate
    (doubt,) = stream.doubts
    assert f"{rate} Hz measured" in doubt
    assert summarise(stream.trace).jitter_max_ms < 0.1
    # Only Opus has this clock among the codecs of telephones.
    assert (stream.codec, stream.codec_from) == (("opus", "guessed") if rate == 48000 else ("", "unknown"))


def test_the_clock_of_four_packets_in_one_burst_is_a_guess_and_said_so() -> None:
    stream = only(read(rtp_stream("....", payload_type=96, clock_rate=48000, delay_ms=lambda i: 80.0 - 20 * i)))
    assert stream.trace.clock_rate == 8000
    assert "guessed to be 8000 Hz" in stream.doubts[0]


def test_stalls_and_holds_do_not_mislead_the_measured_clock() -> None:
    stalled = rtp_stream(
        "." * 300,
        payload_type=96,
        clock_rate=16000,
        delay_ms=lambda i: max(0, 1500 - 20 * (i % 100 - 20)) * (i % 100 > 19),
    )
    assert only(read(stalled)).trace.clock_rate == 16000
    held = rtp_stream("." * 60, payload_type=96, clock_rate=16000, delay_ms=lambda i: 60_000 if i >= 30 else 0)
    assert only(read(held)).trace.clock_rate == 16000


@pytest.mark.parametrize("claimed", [8000, 16000])
def test_the_clock_of_g722_is_8000_whatever_the_sdp_says(claimed: int) -> None:
    described = invite(f"m=audio 4000 RTP/AVP 9\r\na=rtpmap:9 G722/{claimed}\r\n")
    stream = only(read([described, *rtp_stream("." * 50, payload_type=9)]))
    assert (stream.codec, stream.trace.clock_rate, stream.codec_from) == ("g722", 8000, "sdp")
    assert summarise(stream.trace).jitter_max_ms < 1e-6


def test_a_clock_that_the_timestamps_contradict_is_doubted() -> None:
    described = invite("m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 speex/16000\r\n")
    stream = only(read([described, *rtp_stream("." * 300, payload_type=97, clock_rate=8000)]))
    assert "advance at about 8000 Hz" in stream.doubts[0]
    assert only(read([described, *rtp_stream("." * 300, payload_type=97, clock_rate=16000)])).doubts == ()


@pytest.mark.parametrize(("packets", "doubted"), [(40, False), (60, True), (200, True)])
def test_a_clock_that_is_steadily_another_is_doubted_from_one_second_on(packets: int, doubted: bool) -> None:
    stream = only(read(rtp_stream("." * packets, payload_type=9, clock_rate=16000)))
    assert [one for one in stream.doubts if "advance at about 16000 Hz" in one] == list(stream.doubts)
    assert bool(stream.doubts) == doubted


def test_a_queue_that_drains_at_twice_the_pace_is_no_other_clock() -> None:
    """A second and a half of speech held up, then sent at twice its pace: at the end of it the clock seems doubled."""
    late = rtp_stream("." * 100, delay_ms=lambda i: max(0, 1500 - 10 * i))
    assert only(read(late)).doubts == ()
    # Filling, as slowly: half of it.
    assert only(read(rtp_stream("." * 100, delay_ms=lambda i: min(20 * i, 900)))).doubts == ()


def test_packets_of_changing_length_are_no_contradiction() -> None:
    steps = [10, 20, 40] * 120
    packets = []
    at = 0
    for number, ms in enumerate(steps):
        packet = RtpPacket(0, number, 8 * at, 7, bytes(8 * ms))
        packets.append(Datagram(START_NS + (at + ms) * 1_000_000, bytes(packet)))
        at += ms
    assert only(read(packets)).doubts == ()


def test_codecs_of_different_clocks_in_one_stream_share_one_timeline() -> None:
    described = invite("m=audio 4000 RTP/AVP 111 8\r\na=rtpmap:111 opus/48000/2\r\n")
    packets, timestamp = [], 1000
    for number in range(300):
        opus = number // 50 % 2 == 0
        packet = RtpPacket(111 if opus else 8, number, timestamp, 7, bytes(160))
        packets.append(Datagram(START_NS + number * 20_000_000, bytes(packet)))
        timestamp += 960 if (number + 1) // 50 % 2 == 0 else 160
    stream = only(read([described, *packets]))
    found = summarise(stream.trace)
    assert (found.jitter_max_ms, found.pdv_max_ms) == pytest.approx((0.0, 0.0), abs=0.2)
    assert any("another RTP clock" in note for note in stream.trace.notes)


def test_the_description_in_force_is_the_last_before_the_stream() -> None:
    first = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 speex/8000\r\n", START_NS - 20 * S)
    again = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n", START_NS - S)
    after = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 AMR-WB/16000\r\n", START_NS + 60 * S)
    media = rtp_stream("." * 50, payload_type=96, clock_rate=48000)
    stream = only(read([first, again, *media, after]))
    assert (stream.codec, stream.encoding.parameters) == ("opus", {"useinbandfec": "1"})
    assert only(read([first, *media])).codec == "speex"
    # Early media may come a little before the answer that describes it.
    assert only(read([*media, again])).codec == "opus"


def test_the_receivers_numbers_count_where_the_two_ends_differ() -> None:
    receiver = invite("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n")
    body = (
        receiver.payload.replace(b"10.8.0.2", b"10.8.0.1")
        .replace(b" 4000 ", b" 20848 ")
        .replace(b"opus/48000/2", b"speex/16000")
    )
    sender = Datagram(receiver.time_ns + S // 2, body, ("10.8.0.1", 5060), ("10.8.0.2", 5060))
    assert only(read([receiver, sender, *rtp_stream("." * 50, payload_type=96, clock_rate=48000)])).codec == "opus"


def test_all_payload_types_of_a_stream_are_known() -> None:
    described = invite("m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n")
    speech = rtp_stream("." * 40, payload_type=0)
    event = rtp_stream(
        "...",
        payload_type=101,
        payload=b"\x05\x0a\x00\xa0",
        sequence=1040,
        timestamp=160 + 40 * 160,
        start_ns=START_NS + 40 * 20_000_000,
    )
    other = rtp_stream(
        "." * 30, payload_type=8, sequence=1043, timestamp=160 + 43 * 160, start_ns=START_NS + 43 * 20_000_000
    )
    stream = only(read([described, *speech, *event, *other]))
    assert {number: encoding.name for number, encoding in stream.trace.formats.items()} == {
        0: "PCMU",
        8: "PCMA",
        101: "telephone-event",
    }


@pytest.mark.parametrize(
    ("lines", "encrypted"),
    [
        ("m=audio 4000 RTP/SAVP 0\r\n", "SRTP"),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\n", "SRTP"),
        ("m=audio 4000 RTP/AVP 0\r\n", ""),
    ],
)
def test_a_description_says_that_it_is_encrypted(lines: str, encrypted: str) -> None:
    random = np.random.default_rng(4).bytes(160)
    found = only(read([invite(lines), *rtp_stream("." * 10, payload=random)])).encryption
    assert (found.kind, found.certain) == (encrypted, bool(encrypted))


def test_video_is_video_by_its_section_or_its_codec() -> None:
    by_codec = invite("m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n")
    assert only(read([by_codec, *rtp_stream("." * 10, payload_type=96, clock_rate=90000)])).media == "video"
    unknown = invite("m=video 4000 RTP/AVP 96\r\na=rtpmap:96 X-NEW/90000\r\n")
    assert only(read([unknown, *rtp_stream("." * 10, payload_type=96, clock_rate=90000)])).media == "video"
    assert only(read(rtp_stream("." * 10))).media == "audio"


def test_bundled_audio_is_audio_although_the_section_of_video_comes_first() -> None:
    bundled = invite(
        "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 X-NEW/90000\r\n"
        "m=audio 4000 RTP/AVP 111 0\r\na=rtpmap:111 opus/48000/2\r\n"
    )
    audio = rtp_stream("." * 30, payload_type=111, clock_rate=48000)
    video = rtp_stream("." * 20, payload_type=96, clock_rate=90000, ssrc=5)
    unnamed = rtp_stream("." * 10, payload_type=8, ssrc=6)
    streams = read(together([bundled], audio, video, unnamed)).streams
    assert [(one.codec, one.media) for one in streams] == [("opus", "audio"), ("x-new", "video"), ("g711a", "audio")]


def test_the_video_of_another_host_on_the_same_port_makes_no_video_of_audio() -> None:
    other = described("m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n", "10.7.0.1")
    stream = only(read([other, *rtp_stream("." * 60, payload_type=96, clock_rate=16000)]))
    assert (stream.codec, stream.codec_from, stream.media) == ("", "unknown", "audio")


def test_a_guess_stays_one_where_its_clock_is_set() -> None:
    stream = only(read(rtp_stream("." * 60, payload_type=97), clock_rate=16000))
    assert (stream.codec_from, stream.trace.clock_rate) == ("guessed", 16000)
    assert stream.doubts == ("payload type 97 guessed to be speex/8000 (its clock is set by option)",)


# -- whose SDP it is ----------------------------------------------------------------------------------------------

ILBC = "m=audio {} RTP/AVP 97\r\na=rtpmap:97 iLBC/8000\r\n"
FAR: dict[str, Any] = {"source": ("192.0.2.1", 3000), "destination": ("192.0.2.2", 5000)}


def test_the_sdp_of_other_ports_is_a_guess_and_said_to_be() -> None:
    media = rtp_stream("." * 100, payload_type=97, **FAR)
    stream = only(read([invite(ILBC.format(9000)), *media]))
    assert (stream.codec, stream.codec_from) == ("ilbc", "guessed")
    assert stream.doubts == (
        "payload type 97 guessed to be iLBC/8000, as SDP for other ports says (its timestamps agree)",
    )
    assert set(stream.doubts) <= set(stream.trace.notes)


def test_the_sdp_of_other_ports_counts_for_nothing_where_the_timestamps_contradict_it() -> None:
    other = invite("m=audio 9000 RTP/AVP 98\r\na=rtpmap:98 opus/48000/2\r\n")
    stream = only(read([other, *rtp_stream("." * 100, payload_type=98, clock_rate=8000, **FAR)]))
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("", "unknown", 8000)
    assert summarise(stream.trace).pdv_max_ms == pytest.approx(0, abs=0.01)
    # Of several meanings, that whose clock it is.
    more = described("m=audio 9002 RTP/AVP 98\r\na=rtpmap:98 speex/8000\r\n", "192.0.2.9", call="other")
    stream = only(read([other, other, more, *rtp_stream("." * 100, payload_type=98, clock_rate=8000, **FAR)]))
    assert (stream.codec, stream.codec_from) == ("speex", "guessed")
    assert "among other meanings" in stream.doubts[0]


def test_a_type_guessed_beside_the_main_one_is_said_to_be_guessed() -> None:
    other = invite("m=audio 9000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")
    media = [*rtp_stream("." * 40, **FAR), *rtp_stream("..", payload_type=101, start_ns=START_NS + S, **FAR)]
    stream = only(read([other, *media]))
    assert stream.codec_from == "static"
    assert stream.trace.formats[101].role == "event"
    assert stream.doubts == (
        "payload type 101 guessed to be telephone-event/8000, as SDP for other ports says (unconfirmed)",
    )


def test_a_type_guessed_inside_red_is_said_to_be_guessed() -> None:
    ours = described("m=audio 5000 RTP/AVP 63\r\na=rtpmap:63 red/8000\r\n", "192.0.2.2", call="red")
    media = rtp_stream("." * 60, payload_type=63, payload=b"\x61" + bytes(20), **FAR)
    stream = only(read([ours, invite(ILBC.format(9000)), *media]))
    assert (stream.codec, stream.codec_from) == ("ilbc", "sdp")
    assert any("97 guessed to be iLBC" in doubt for doubt in stream.doubts)


def test_of_three_hundred_calls_each_has_the_codec_of_its_own_sdp() -> None:
    """Number 97 is Speex in the first two hundred, iLBC in the rest."""
    packets: list[Datagram] = []
    for call in range(300):
        here, there = f"10.1.{call // 250}.{call % 250 + 1}", f"10.2.{call // 250}.{call % 250 + 1}"
        lines = "m=audio {} RTP/AVP 97\r\n" + f"a=rtpmap:97 {'speex' if call < 200 else 'iLBC'}/8000\r\n"
        at = START_NS + call * S // 10
        offer = described(lines.format(10_000 + call), here, to=there, call=f"c{call}", time_ns=at - 50_000_000)
        reply = described(lines.format(20_000 + call), there, to=here, call=f"c{call}", time_ns=at - 40_000_000)
        ends: dict[str, Any] = {"source": (there, 20_000 + call), "destination": (here, 10_000 + call)}
        packets += [offer, reply, *rtp_stream("." * (5 + call // 10), payload_type=97, start_ns=at, ssrc=call, **ends)]
    capture = read(together(packets))
    found = {(one.ssrc >= 200, one.codec, one.codec_from, one.doubts) for one in capture.streams}
    assert found == {(False, "speex", "sdp", ()), (True, "ilbc", "sdp", ())}


def test_behind_nat_the_port_alone_is_said_to_be_what_was_gone_by() -> None:
    inside = described(ILBC.format(5000), "192.168.1.5", to="192.0.2.1")
    stream = only(read([inside, *rtp_stream("." * 60, payload_type=97, **FAR)]))
    assert (stream.codec, stream.codec_from) == ("ilbc", "sdp")
    assert stream.doubts == (
        "payload type 97 taken to be iLBC/8000, as SDP for 192.168.1.5:5000 says: the port is this stream's, the"
        " address is not (its timestamps agree)",
    )
    # The answer of the other end, in the same call, is at this flow: then the offer is the receiver's, wherever it is.
    speex = "m=audio {} RTP/AVP 97\r\na=rtpmap:97 speex/8000\r\n"
    reply = described("m=audio 3000 RTP/AVP 96\r\na=rtpmap:96 iLBC/8000\r\n", "192.0.2.1")
    for port in (5000, 7000):
        strange = described(speex.format(5000), "10.9.9.9", call="another")
        inside = described(ILBC.format(port), "192.168.1.5", to="192.0.2.1")
        stream = only(read([inside, reply, strange, *rtp_stream("." * 60, payload_type=97, **FAR)]))
        assert (stream.codec, stream.codec_from, stream.doubts) == ("ilbc", "sdp", ())


def test_a_candidate_of_ice_is_an_end_like_any_other() -> None:
    """The default address is a relay's; the media take the direct way (RFC 8839)."""
    lines = (
        "m=audio 49170 UDP/TLS/RTP/SAVPF 97\r\nc=IN IP4 203.0.113.9\r\na=rtpmap:97 iLBC/8000\r\n"
        "a=candidate:1 1 UDP 2130706431 192.0.2.2 5000 typ host\r\n"
        "a=candidate:1 2 UDP 2130706430 192.0.2.2 5001 typ host\r\n"
        "a=candidate:2 1 UDP 1694498815 203.0.113.9 49170 typ relay raddr 192.0.2.2 rport 5000\r\na=candidate:3 1\r\n"
    )
    capture = read([described(lines, "192.0.2.2"), *rtp_stream("." * 60, payload_type=97, **FAR)])
    assert capture.sdp[0].candidates == (("192.0.2.2", 5000),)
    stream = only(capture)
    assert (stream.codec, stream.codec_from, stream.guessed) == ("ilbc", "sdp", ())
    assert stream.encryption.basis == "sdp"
    # Where nothing but a candidate's port is the stream's, its address is named.
    elsewhere = lines.replace("192.0.2.2 5000", "192.168.1.9 5000")
    stream = only(read([described(elsewhere, "192.0.2.2"), *rtp_stream("." * 60, payload_type=97, **FAR)]))
    assert "as SDP for 192.168.1.9:5000 says" in stream.guessed[0]


def test_the_same_port_of_another_host_gives_way_to_the_right_one() -> None:
    right = described("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 speex/16000\r\n", PHONE[0])
    wrong = [
        described("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 iLBC/8000\r\n", f"10.7.0.{n}", call=f"c{n}", time_ns=START_NS)
        for n in range(1, 9)
    ]
    media = rtp_stream("." * 60, payload_type=96, clock_rate=16000)
    stream = only(read([right, *wrong, *media]))
    assert (stream.codec, stream.trace.clock_rate, stream.doubts) == ("speex-wb", 16000, ())
    stream = only(read([*wrong, *media]))
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("", "unknown", 16000)


@pytest.mark.parametrize("address", ["0.0.0.0", "phone.example.org", ""])
def test_an_address_that_cannot_be_compared_is_the_flows(address: str) -> None:
    lines = described(ILBC.format(4000), address)
    stream = only(read([Datagram(lines.time_ns, lines.payload, PHONE, SERVER), *rtp_stream("." * 60, payload_type=97)]))
    assert (stream.codec, stream.codec_from, stream.doubts) == ("ilbc", "sdp", ())


def test_a_flood_of_descriptions_of_one_port_is_bounded_and_counted() -> None:
    flood = [described(f"m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 x{n}/8000\r\n", call=f"c{n}") for n in range(300)]
    capture = read([*flood, *rtp_stream("." * 60, payload_type=97)])
    assert capture.streams[0].codec_from == "sdp"
    assert any("44 audio descriptions" in problem.detail for problem in capture.problems)
