"""The published captures' quirks, each on a capture of our own that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from earwitness.errors import InputError
from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.jitter import as_published
from earwitness.trace.problem import ProblemKind
from earwitness.trace.report import choose_streams, time_streams
from earwitness.trace.timing import summarise
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream, together

BACK: dict[str, Any] = {"source": PHONE, "destination": SERVER}


def tunnel(pattern: str = "." * 60, **options: Any) -> list[Datagram]:
    """Both directions, as the study's tunnel shows them; the options are of what the phone received."""
    return together(rtp_stream(pattern, ssrc=1, **options), rtp_stream("." * 60, ssrc=2, **BACK))


def study(datagrams: list[Datagram]) -> Capture:
    return parse_capture(pcap(datagrams, snap_length=85))


def test_raw_ip_cut_at_85_bytes_keeps_sizes_and_whole_gsm_payloads() -> None:
    for payload, codec, payload_type, kept in ((160, "g711u", 0, 45), (33, "gsm", 3, 33), (28, "speex", 97, 28)):
        (stream, *_) = study(tunnel(payload=bytes(payload), payload_type=payload_type)).sent_by("10.8.0.1")
        assert stream.codec == codec
        assert stream.trace.size.tolist() == [payload] * 60
        assert stream.trace.payloads is not None
        assert stream.trace.payloads.captured.tolist() == [kept] * 60


def test_opus_is_payload_type_120_on_a_48_khz_clock_and_said_to_be_a_guess() -> None:
    (stream,) = study(tunnel(payload_type=120, clock_rate=48000, payload=bytes(223))).sent_by("10.8.0.1")
    assert (stream.codec, stream.trace.clock_rate, stream.codec_from) == ("opus", 48000, "guessed")
    assert as_published(stream.trace).max_ms == 0.0


def test_the_folders_name_is_not_the_codec() -> None:
    """What the packets say is what is told, whatever the file is called."""
    capture = parse_capture(pcap(tunnel(payload_type=3, payload=bytes(33))), "05-data/Tor/speex/10/callee/x.pcap")
    assert {stream.codec for stream in capture.streams} == {"gsm", "g711u"}


def test_a_header_and_no_packet() -> None:
    capture = study([])
    assert [p.kind for p in capture.problems] == [ProblemKind.EMPTY]
    with pytest.raises(InputError, match="a header but no packets"):
        choose_streams(capture, side="caller")


def test_cut_in_the_middle_of_a_packet() -> None:
    data = pcap(tunnel(), snap_length=85)
    capture = parse_capture(data[: len(data) // 2])
    assert [p.kind for p in capture.problems] == [ProblemKind.TRUNCATED]
    assert 20 < len(capture.sent_by("10.8.0.1")[0].trace) < 40


def test_two_dumps_written_over_each_other_in_one_file() -> None:
    """Pages of one dump over pages of the other: records end within packets again and again."""
    call = tunnel(payload_type=3, payload=bytes(33))
    one, other = pcap(call, snap_length=85), pcap(call[1:], snap_length=85)
    pages = [(one if page % 8192 == 0 else other)[page : page + 4096] for page in range(0, len(other), 4096)]
    data = b"".join(pages)
    assert [p.kind for p in parse_capture(data).problems] == [ProblemKind.CORRUPT]
    whole = parse_capture(data, resume=True)
    assert sum(len(s.trace) for s in whole.streams) > 100
    corrupt = [p.detail for p in whole.problems if p.kind == ProblemKind.CORRUPT]
    assert corrupt
    assert all("missing here" in detail for detail in corrupt)


def test_no_rtp_from_the_far_end() -> None:
    only_back = study(rtp_stream("." * 60, **BACK))
    with pytest.raises(InputError, match=r"no RTP stream from 10\.8\.0\.1"):
        choose_streams(only_back, side="caller")
    only_sip = study([invite("m=audio 4000 RTP/AVP 0\r\n")])
    assert [p.kind for p in only_sip.problems] == [ProblemKind.NO_RTP]
    assert only_sip.sip[0].truncated


def test_sequence_numbers_wrap_and_rare_loss_duplicates_and_reordering_occur() -> None:
    (stream,) = study(tunnel("." * 20 + "x..d...l" + "." * 32, sequence=65_510)).sent_by("10.8.0.1")
    found = summarise(stream.trace)
    assert (found.packets_lost, found.packets_duplicate, found.packets_reordered) == (1, 1, 1)
    assert stream.trace.sequence.max() == 65_510 + 59


def test_a_stray_second_ssrc() -> None:
    stray = rtp_stream("..", ssrc=3, start_ns=START_NS + 10**8)
    capture = study(together(tunnel(), stray))
    assert [p.kind for p in capture.problems] == [ProblemKind.STRAY_SSRC]
    (chosen,) = choose_streams(capture, side="caller")
    assert chosen.ssrc == 1
    assert any("stray_ssrc" in note for note in time_streams(capture, [chosen])[0].notes)


def test_silence_suppression_counts_as_spikes_only_as_published() -> None:
    (stream,) = study(tunnel("." * 20 + "_" * 15 + "." * 20)).sent_by("10.8.0.1")
    found = summarise(stream.trace)
    assert (found.spikes_with_pauses, found.spikes_without_pauses) == (1, 0)
    assert stream.trace.marker.sum() == 2


def test_the_side_is_the_tunnels_address_or_who_invited() -> None:
    capture = study(tunnel())
    assert [s.ssrc for s in choose_streams(capture, side="caller")] == [1]
    assert [s.ssrc for s in choose_streams(capture, side="callee")] == [2]
    ends: dict[str, Any] = {"source": ("192.0.2.9", 7000), "destination": ("192.0.2.7", 7000)}
    back: dict[str, Any] = {"source": ends["destination"], "destination": ends["source"]}
    call = [*rtp_stream("." * 9, ssrc=1, **ends), *rtp_stream("." * 9, ssrc=2, **back)]
    with pytest.raises(InputError, match="no INVITE"):
        choose_streams(parse_capture(pcap(call)), side="caller")
    asked = invite("m=audio 7000 RTP/AVP 0\r\n")
    asked = Datagram(asked.time_ns, asked.payload, ("192.0.2.7", 5060), ("192.0.2.9", 5060))
    assert [s.ssrc for s in choose_streams(parse_capture(pcap([asked, *call])), side="caller")] == [1]
    assert [s.ssrc for s in choose_streams(parse_capture(pcap([asked, *call])), side="callee")] == [2]
