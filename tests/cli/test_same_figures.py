"""The same capture through the same buffer gives the same figures, whichever command is asked."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.cli.main import app
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.played import play, received
from earwitness.replay.blame import blame
from earwitness.replay.whatif import what_if
from earwitness.replay.whatif_calls import find_directions, hear_direction
from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.rtp import RtpPacket
from testing.report.synthetic import Made, add_call
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, together

SPOKEN = "allison-10s"
DELAYS = ("mouth_to_ear_ms", "mouth_to_ear_p95_ms", "mouth_to_ear_basis", "playout_delay_ms", "playout_delay_p95_ms")
SHARES = ("played_ratio", "late_ratio", "lost_ratio", "discarded_ratio", "concealed_ratio", "stretched_ratio")
FIGURES = (*DELAYS, *SHARES)
MS = 1_000_000


def records(*arguments: object) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def call(spec: str, *, rtcp: bool, clean: bool = False) -> bytes:
    """A capture at the listener: speech that crossed a network which delays and loses, and what the phone sent back.

    A `clean` network delays all packets by 60 ms.
    """
    of, chance = codec(spec), np.random.default_rng(5)
    payloads = encode_packets(of, speech(SPOKEN, of.sample_rate).samples)
    ticks, packet_ns = int(of.clock_rate * of.packet_ms / 1000), round(of.packet_ms * MS)
    delay = np.minimum(chance.gamma(2.0, 18.0, len(payloads)), 250.0) * (not clean) + 60
    there, back = [], []
    for number, payload in enumerate(payloads):
        header = RtpPacket(of.payload_type, number, number * ticks, 7, payload)
        time_ns = START_NS + number * packet_ns
        if clean or chance.random() > 0.02:
            there.append(Datagram(time_ns + round(delay[number] * MS), bytes(header), SERVER, PHONE))
        own = RtpPacket(of.payload_type, number, number * ticks, 8, payload)
        back.append(Datagram(time_ns, bytes(own), PHONE, SERVER))
    named = f"a=rtpmap:{of.payload_type} {of.encoding_name}/{of.clock_rate}/{of.channels}\r\n"
    described = invite(f"m=audio {PHONE[1]} RTP/AVP {of.payload_type}\r\n{named}")
    return pcap(together([described], there, back, _reports() if rtcp else []), nanoseconds=True)


def _reports() -> list[Datagram]:
    """RTCP that tells of a round trip of 200 ms."""
    asked = struct.pack(">BBHIQIII", 0x80, 200, 6, 8, 0xABCD1234 << 16, 0, 0, 0)
    block = struct.pack(">IIIIII", 8, 0, 0, 0, 0xABCD1234, 65536 * 300 // 1000)
    answered = struct.pack(">BBHIQIII", 0x81, 200, 12, 7, 5 << 16, 0, 0, 0) + block
    ends = (PHONE[0], PHONE[1] + 1), (SERVER[0], SERVER[1] + 1)
    return [
        Datagram(START_NS + 1000 * MS, asked, *ends),
        Datagram(START_NS + 1500 * MS, answered, ends[1], ends[0]),
    ]


@pytest.mark.parametrize("rtcp", [True, False])
@pytest.mark.parametrize(
    ("spec", "buffer"), [("g711u", "fixed:120"), ("opus:24000,ptime=40", "pjmedia"), ("gsm", "adaptive")]
)
def test_timing_hear_and_blame_agree(tmp_path: Path, spec: str, buffer: str, rtcp: bool) -> None:
    capture = tmp_path / "call.pcap"
    capture.write_bytes(call(spec, rtcp=rtcp))
    (heard,) = records("hear", capture, "--buffer", buffer, "--reference", SPOKEN)
    (blamed,) = records("blame", capture, "--buffer", buffer, "--reference", SPOKEN)
    timed = {record["ssrc"]: record for record in records("timing", capture, "--buffer", buffer)}[heard["ssrc"]]
    wanted = {name: heard[name] for name in FIGURES}
    assert heard["direction"] == timed["direction"] == "received"
    assert heard["direction_from"] == timed["direction_from"]
    assert heard["mouth_to_ear_basis"] == ("rtt/2" if rtcp else "fastest packet")
    assert heard["lost_ratio"] > 0.01
    assert {name: blamed[name] for name in FIGURES} == wanted
    assert {name: timed["estimate"][name] for name in FIGURES} == wanted
    assert blamed["mos_lqo"] == heard["mos_lqo"]
    estimated = {name for name in heard["estimate"] if name not in FIGURES}
    assert {name: timed["estimate"][name] for name in estimated} == {
        name: heard["estimate"][name] for name in estimated
    }


@pytest.mark.parametrize("spec", ["g711u", "opus:24000,ptime=40", "opus:24000,ptime=60"])
def test_a_clean_call_is_clean_by_the_phones_own_clock(tmp_path: Path, spec: str) -> None:
    capture = tmp_path / "call.pcap"
    capture.write_bytes(call(spec, rtcp=False, clean=True))
    (heard,) = records("hear", capture, "--buffer", "pjmedia", "--reference", SPOKEN, "--to", PHONE[0])
    assert heard["concealed_ratio"] < 0.02
    assert heard["discarded_ratio"] == heard["late_ratio"] == 0.0
    assert heard["mos_lqo"] > 4.0
    assert heard["estimate"]["estimated_mos_lqe"] > 4.4
    assert heard["doubt"] == ""


@pytest.mark.parametrize("buffer", ["fixed:80", "pjmedia"])
def test_what_if_agrees_with_the_ear_and_with_blame(tmp_path: Path, buffer: str) -> None:
    with Dataset.open_or_create(tmp_path / "set", durable=False) as store:
        add_call(store, Made("call-1", "tor", 3, seconds=8.0))
    rows = what_if(tmp_path / "set", [buffer]).calls.set_index("direction")
    for direction in find_directions(tmp_path / "set").directions:
        (heard,), of, said = hear_direction(direction, [buffer])
        row, figures = rows.loc[direction.direction], heard.figures()
        assert {name: row[name] for name in FIGURES} == {name: figures[name] for name in FIGURES}
        found = blame(heard, of, said.samples)
        assert found.mos_lqo == row["mos_lqo"]
        assert found.figures == figures
        ear = buffer_named(buffer)
        played = play(received(heard.trace, of, ear), ear, audio_delay_ns=heard.audio_delay_ns)
        assert played.figures() == figures
