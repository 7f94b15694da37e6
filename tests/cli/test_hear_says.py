"""What `hear` prints beside its figures: doubts about the estimate, reasons for a missing score, what was left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.cli.main import app
from earwitness.errors import InputError
from earwitness.replay.whatif import what_if
from earwitness.replay.whatif_calls import find_directions, hear_direction
from earwitness.score.played import rate_played
from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.wav import write_wav
from earwitness.trace.rtp import RtpPacket
from testing.ear.traces import voice
from testing.report.synthetic import Made, add_call
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap

MS = 1_000_000


def hear(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["hear", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def capture(folder: Path, spec: str, loudness: int = 1) -> Path:
    of = codec(spec)
    payloads = encode_packets(of, voice(4.0, of.sample_rate) * np.int16(loudness))
    ticks, packet_ns = int(of.clock_rate * of.packet_ms / 1000), round(of.packet_ms * MS)
    packets = [RtpPacket(of.payload_type, i, i * ticks, 7, payload) for i, payload in enumerate(payloads)]
    named = f"a=rtpmap:{of.payload_type} {of.encoding_name}/{of.clock_rate}\r\n" + (
        f"a=fmtp:{of.payload_type} {of.fmtp}\r\n" if of.fmtp else ""
    )
    sent = [Datagram(START_NS + i * packet_ns, bytes(one), SERVER, PHONE) for i, one in enumerate(packets)]
    path = folder / "call.pcap"
    path.write_bytes(pcap([invite(f"m=audio {PHONE[1]} RTP/AVP {of.payload_type}\r\n{named}"), *sent]))
    return path


def test_the_doubt_of_an_estimate_stands_beside_it(tmp_path: Path) -> None:
    said = hear(capture(tmp_path, "codec2"), "--buffer", "fixed:60")
    assert "no E-model factors of codec2 are known, so it is rated as G.711" in said


def test_why_there_is_no_score_is_printed_and_for_which_buffer(tmp_path: Path) -> None:
    path = capture(tmp_path, "g711u", loudness=0)
    said = hear(path, "--buffer", "fixed:60", "--buffer", "fixed:90", "--reference", "allison-10s")
    assert said.count("not scored: ") == 1
    assert "silent" in said


def test_the_wideband_score_is_shown(tmp_path: Path) -> None:
    reference = tmp_path / "said.wav"
    write_wav(reference, voice(4.0, 16_000), 16_000)
    said = hear(capture(tmp_path, "g722"), "--buffer", "fixed:60", "--reference", reference)
    assert "wideband" in said
    assert "discarded" in said


def test_what_if_rates_a_call_as_hear_does(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "set", durable=False) as store:
        add_call(store, Made("call-1", "tor", 3, seconds=8.0))
    for buffer in ("pjmedia", "adaptive"):
        rows = what_if(tmp_path / "set", [buffer]).calls.set_index("direction")
        for direction in find_directions(tmp_path / "set").directions:
            (heard,), of, _ = hear_direction(direction, [buffer])
            assert rows.loc[direction.direction]["mos_cqe"] == rate_played(heard, of).mos_cqe


@pytest.mark.parametrize("option", ["--stream", "--port", "--ssrc", "--to", "--codec"])
def test_blame_refuses_for_a_data_set_what_chooses_in_a_capture(tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match="chooses among the streams of a capture"):
        CliRunner().invoke(app, ["blame", str(tmp_path), option, "1"], catch_exceptions=False)
    with pytest.raises(InputError, match="there is none"):
        CliRunner().invoke(app, ["blame", str(tmp_path / "no.pcap"), option, "1"], catch_exceptions=False)


@pytest.mark.parametrize("paused", [0, 100])
def test_the_part_of_the_time_that_is_pauses_is_told(tmp_path: Path, paused: int) -> None:
    """On hold, and with silence suppression, nothing is sent; the shares are of speech alone."""
    payloads = encode_packets(codec("g711u"), voice(4.0))
    places = [i + (i >= 100) * paused for i in range(len(payloads))]
    packets = [RtpPacket(0, i, place * 160, 7, payloads[i]) for i, place in enumerate(places)]
    path = tmp_path / "call.pcap"
    sent = [Datagram(START_NS + at * 20 * MS, bytes(one)) for at, one in zip(places, packets, strict=True)]
    path.write_bytes(pcap(sent))
    said = hear(path, "--buffer", "fixed:60")
    assert ("34% of the time is pauses" in said) == bool(paused)
    assert ("pauses" in said) == bool(paused)
