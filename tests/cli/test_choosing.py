"""`--stream`, `--port`, `--ssrc`, `--payload-type` and `--srtp-key`, and what a command says that it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from earwitness.cli.main import app
from earwitness.errors import InputError
from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.rtp import RtpPacket
from testing.trace.encrypted import encrypted, inline, master_key
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream, together

SPOKEN = "allison-10s"
MS = 1_000_000


def run(*arguments: object) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(*arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def spoken(payload_type: int, ssrc: int, port: int, spec: str = "g711u", first: int = 0) -> list[Datagram]:
    payloads = encode_packets(codec(spec), speech(SPOKEN).samples)[first:]
    packets = [RtpPacket(payload_type, i, 160 * i, ssrc, payload) for i, payload in enumerate(payloads)]
    return [
        Datagram(START_NS + 20 * MS * i, bytes(packet), SERVER, (PHONE[0], port)) for i, packet in enumerate(packets)
    ]


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A long video stream, two of speech in G.711 of which one has a number that nothing explains."""
    described = invite("m=audio 4000 RTP/AVP 0\r\nm=video 4010 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n")
    video = rtp_stream("." * 900, ssrc=9, payload_type=96, clock_rate=90000, destination=(PHONE[0], 4010))
    path = tmp_path / "several.pcap"
    path.write_bytes(pcap(together([described], video, spoken(0, 1, 4000), spoken(107, 2, 4020, first=1))))
    return path


def test_speech_is_preferred_and_the_choice_is_said(several: Path) -> None:
    (record,) = run("hear", several, "--buffer", "fixed:60", "--reference", SPOKEN)
    assert (record["ssrc"], record["codec"]) == ("0x00000001", "g711u")
    assert "1 more audio stream, 1 more video stream" in record["why"]
    assert record["mos_lqo"] > 4.4
    assert [item["media"] for item in run("timing", several)] == ["video", "audio", "audio"]


@pytest.mark.parametrize(
    "choice", [("--stream", 3), ("--stream", "0x2"), ("--ssrc", "0x2"), ("--ssrc", 2), ("--port", 4020)]
)
def test_another_stream_is_taken_when_asked(several: Path, choice: tuple[str, object]) -> None:
    chosen = (*choice, "--payload-type", "107=PCMU/8000", "--buffer", "fixed:60", "--reference", SPOKEN)
    (heard,) = run("hear", several, *chosen)
    (blamed,) = run("blame", several, *chosen)
    assert heard["ssrc"] == "0x00000002"
    assert heard["mos_lqo"] == blamed["mos_lqo"] > 4.4
    assert "ssrc 0x00000002" in blamed["notes"]
    assert [item["ssrc"] for item in run("timing", several, *choice, "--payload-type", "107=PCMU/8000")] == [
        "0x00000002"
    ]


def test_what_is_not_there_is_named_with_what_is(several: Path) -> None:
    assert "no stream 7" in refused("hear", several, "--stream", 7)
    assert "ssrc 0x00000001" in refused("hear", several, "--port", 5)
    assert "no 32-bit number" in refused("timing", several, "--ssrc", "x")
    assert "NUMBER=NAME/RATE" in refused("blame", several, "--reference", SPOKEN, "--payload-type", "107")
    assert "name the --codec" in refused("hear", several, "--stream", 3)


def test_video_alone_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "video.pcap"
    video = rtp_stream("." * 90, payload_type=96, clock_rate=90000)
    path.write_bytes(pcap([invite("m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"), *video]))
    assert "it has no stream of audio" in refused("hear", path)


@pytest.mark.parametrize("command", ["whatif", "report"])
def test_a_capture_is_no_data_set(several: Path, command: str) -> None:
    said = refused(command, several)
    assert "it is a capture, not a data set" in said
    assert "`hear`" in said


def test_a_capture_without_rtp_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "dns.pcap"
    path.write_bytes(pcap([Datagram(START_NS + i, b"\1" * 30, SERVER, (PHONE[0], 53)) for i in range(4)]))
    for said in (refused("hear", path), refused("timing", path)):
        assert "4 packets but no RTP stream" in said
        assert "choose another" not in said


def test_a_wrong_key_gives_the_timing_and_says_why_there_is_no_sound(tmp_path: Path) -> None:
    pytest.importorskip("pylibsrtp")
    path, key = tmp_path / "secret.pcap", master_key()
    path.write_bytes(pcap(encrypted(spoken(0, 1, 4000)[:200], key)))
    (timed,) = run("timing", path, "--srtp-key", inline(master_key(seed=3)))
    assert (timed["packets_received"], timed["jitter_max_ms"]) == (200, 0)
    assert ["encrypted (SRTP)" in note for note in timed["notes"]] == [True]
    assert "200 did not authenticate" in timed["notes"][0]
    assert "no packet authenticates with the key given (200 tried)" in refused(
        "hear", path, "--srtp-key", inline(master_key(seed=3))
    )
    (heard,) = run("hear", path, "--srtp-key", inline(key), "--buffer", "fixed:60")
    assert heard["sound_from"] == "packets"
