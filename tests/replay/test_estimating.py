"""Quality estimated from the packets of a capture: of which packets it is, and what about it is doubtful."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from earwitness.api.listening import time_capture
from earwitness.cli.main import app
from earwitness.replay.estimating import StreamEstimate, estimate_streams
from earwitness.trace.capture import parse_capture
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream, together
from testing.trace.redundancy import red_stream

MS = 1_000_000


def lossy(count: int, seed: int = 5) -> str:
    """A pattern of packets of which about 30 % are lost."""
    return "".join("x" if lost else "." for lost in np.random.default_rng(seed).random(count) < 0.3)


def estimates(*streams: list[Datagram], buffer: str = "fixed:60", **options: Any) -> dict[int, StreamEstimate]:
    capture = parse_capture(pcap(together(*streams), nanoseconds=True))
    found = estimate_streams(capture, capture.streams, buffer, **options)
    return {stream.ssrc: one for stream, one in zip(capture.streams, found, strict=True)}


def doubt_of(one: StreamEstimate) -> str:
    assert one.quality is not None
    return one.quality.doubt


def test_another_talker_on_the_same_ports_is_estimated_for_itself() -> None:
    found = estimates(rtp_stream("." * 400, ssrc=7), rtp_stream(lossy(350), ssrc=0x99, start_ns=START_NS + 1_000 * MS))
    assert found[7].record()["lost_ratio"] == 0.0
    assert found[0x99].record()["lost_ratio"] > 0.25
    assert doubt_of(found[7]) == ""
    assert "whole talk" not in doubt_of(found[0x99])


def test_a_part_of_a_talk_is_estimated_over_all_of_it_and_that_is_said() -> None:
    parts = [rtp_stream("." * 150, ssrc=7), rtp_stream(lossy(150), ssrc=8, start_ns=START_NS + 3_000 * MS)]
    found = estimates(*parts)
    for one in found.values():
        assert doubt_of(one).startswith("over the whole talk of SSRCs 0x00000007 to 0x00000008")
    assert found[7].record()["lost_ratio"] == found[8].record()["lost_ratio"] > 0.1
    alone = estimates(*parts, stream="0x7")
    assert alone[7].record()["lost_ratio"] == 0.0
    assert doubt_of(alone[7]) == ""


def test_the_command_and_the_library_estimate_the_same_packets(tmp_path: Path) -> None:
    parts = [rtp_stream("." * 150, ssrc=7), rtp_stream(lossy(150), ssrc=8, start_ns=START_NS + 3_000 * MS)]
    capture = tmp_path / "call.pcap"
    capture.write_bytes(pcap(together(*parts)))
    frame = time_capture(capture, stream="0x7", buffer="fixed:60")
    assert frame["estimate"][0]["lost_ratio"] == 0.0
    assert time_capture(capture, buffer="fixed:60")["estimate"][0]["lost_ratio"] > 0.1
    result = CliRunner().invoke(app, ["timing", str(capture), "--stream", "0x7", "--buffer", "fixed:60"])
    assert "0.0 % lost, 0.0 % late" in result.output


def test_hear_and_timing_use_one_clock_although_the_phones_own_ssrc_changes(tmp_path: Path) -> None:
    delay = np.random.default_rng(7).gamma(2.0, 18.0, 400).tolist()
    back: dict[str, Any] = {"source": PHONE, "destination": SERVER}
    sent = [rtp_stream("." * 200, ssrc=50, **back)]
    sent.append(rtp_stream("." * 200, ssrc=51, start_ns=START_NS + 4_009 * MS, **back))
    received = rtp_stream("." * 400, ssrc=7, delay_ms=delay.__getitem__, start_ns=START_NS + 60 * MS)
    found = estimates(received, *sent, buffer="pjmedia")[7].record()
    alone = estimates(received, *sent, buffer="pjmedia", stream="7")[7].record()
    assert found["discarded_ratio"] == alone["discarded_ratio"] < 0.2
    assert found["played_ratio"] == alone["played_ratio"] > 0.7


@pytest.mark.parametrize(("buffer", "doubted"), [("adaptive", True), ("fixed:60", False)])
def test_a_buffer_that_listens_for_pauses_cannot_in_cut_packets(buffer: str, doubted: bool) -> None:
    cut = parse_capture(pcap(rtp_stream("." * 200), snap_length=60))
    whole = parse_capture(pcap(rtp_stream("." * 200)))
    said = "the packets are cut, so the buffer does not know the pauses"
    assert (said in doubt_of(estimate_streams(cut, cut.streams, buffer)[0])) == doubted
    assert doubt_of(estimate_streams(whole, whole.streams, buffer)[0]) == ""


def test_what_was_recovered_from_redundancy_is_said(tmp_path: Path) -> None:
    packets = red_stream([bytes([number % 256]) * 160 for number in range(300)])
    media = "m=audio 4000 RTP/AVP 63 0\r\na=rtpmap:63 red/8000\r\na=fmtp:63 0/0\r\na=rtpmap:0 PCMU/8000\r\n"
    sent = [
        Datagram(START_NS + 20 * MS * number, bytes(packet))
        for number, packet in enumerate(packets)
        if number % 10 != 5
    ]
    found = estimates([invite(media)], sent)
    (record,) = (one.record() for one in found.values())
    assert record["lost_ratio"] == 0.0
    assert (record["from_red"], record["from_fec"]) == (30, 0)
    assert any("30 lost packets" in note for note in record["notes"])
    capture = tmp_path / "red.pcap"
    capture.write_bytes(pcap([invite(media), *sent]))
    result = CliRunner().invoke(app, ["timing", str(capture), "--buffer", "fixed:60"])
    assert "30 lost packets" in result.output + result.stderr
