"""Packets of every length that a codec permits, and of changing lengths: what is heard is what the decoder gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear import Fate, Heard, hear
from earwitness.ear.frames import frames_of
from earwitness.replay.blame import blame
from earwitness.score.listening import listening_quality, loopback
from earwitness.speech.codecs.base import Codec, decode_packets, encode_packets
from earwitness.speech.codecs.registry import at_ptime, codec, kind_of
from earwitness.speech.reference import speech
from earwitness.trace.capture import parse_capture
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.rtp import RtpPacket
from testing.ear.traces import MS, packets, trace_at, trace_of, voice
from testing.trace.making import START_NS, Datagram, pcap

G711 = codec("g711u")
SPECS = ("g711u", "g711a", "gsm", "speex", "opus:24000", "opus:24000,rate=48000")
CASES = [
    (spec, ms)
    for spec in SPECS
    for ms in kind_of(codec(spec)).ptimes
    if "g711" not in spec or ms in (1, 2, 5, 7, 10, 15, 20, 25, 30, 35, 36, 37, 40, 60)
]
MIXED = [
    ("g711u", (20, 30)),
    ("g711u", (5, 20, 15)),
    ("g711a", (7, 20)),
    ("gsm", (20, 60, 40)),
    ("speex", (20, 40)),
    ("opus:24000", (20, 40)),
    ("opus:24000", (2.5, 20, 120)),
    ("opus:24000,rate=48000", (10, 60, 5)),
]
BUFFERS = ("fixed:200", "adaptive", "oracle:300")


def first_played(heard: Heard) -> int:
    """The sample at which the first frame of the trace begins."""
    return int(np.flatnonzero(heard.played.frame == 0)[0]) * heard.played.frames.frame_samples


def decoded(trace: Trace, of: Codec) -> np.ndarray:
    """What one decoder makes of the packets in order."""
    assert trace.payloads is not None
    decoder = of.decoder()
    payloads = [trace.payloads[row] for row in range(len(trace))]
    whole = kind_of(of).grain > 0
    frames = payloads if whole else [frame for payload in payloads for frame in of.split(payload)]
    return np.concatenate([decoder.decode(frame) for frame in frames])


@pytest.mark.parametrize(("spec", "ms"), CASES)
def test_a_packet_time_is_played_whole(spec: str, ms: float) -> None:
    of = at_ptime(codec(spec), ms)
    said = voice(1.5, of.sample_rate)
    trace = trace_of(of, said)
    # The ear is not told the packet time: it reads it from the packets.
    heard = hear(trace, codec(spec), "fixed:60")
    plain = decode_packets(of, packets(of, said))
    begin = first_played(heard)
    assert np.array_equal(heard.audio[begin : begin + len(plain)], plain)
    assert heard.shares["played_ratio"] == 1.0
    assert heard.shares["concealed_ratio"] == 0.0
    assert heard.notes == ()
    # Spoken `ms` before the packet was complete, 30 ms on the way, 60 ms in the buffer.
    assert heard.mouth_to_ear_mean_ms == pytest.approx(ms + 30 + 60 + heard.lookahead_ns / 1e6)


@pytest.mark.parametrize(("spec", "ptimes"), MIXED)
@pytest.mark.parametrize("buffer", BUFFERS)
def test_packet_times_that_change_are_played_whole(spec: str, ptimes: tuple[float, ...], buffer: str) -> None:
    of = codec(spec)
    trace = trace_at(of, voice(2.0, of.sample_rate), ptimes)
    heard = hear(trace, of, buffer, concealment="silence")
    plain = decoded(trace, of)
    begin = first_played(heard)
    assert np.array_equal(heard.audio[begin : begin + len(plain)], plain)
    assert heard.shares["played_ratio"] == 1.0
    assert heard.notes == ()


def test_mouth_to_ear_follows_the_length_of_each_packet() -> None:
    heard = hear(trace_at(G711, voice(2.0), (20, 60), delay_ms=30.0), G711, "fixed:100")
    # The first packet of 20 ms plays 100 ms after it arrived. The playing time of all others follows from that, and so
    # does the time from mouth to ear, however the speech is divided into packets.
    assert heard.frame_delay_ms == pytest.approx(20 + 30 + 100)
    each = heard.played.frames.packet[heard.account.pull >= 0]
    waited = [heard.playout_delay_ms[each == row].min() for row in range(10)]
    assert waited == pytest.approx([100, 60] * 5)


@pytest.mark.parametrize("ms", [1, 5, 7, 15, 25, 35, 60])
def test_packets_of_any_length_carry_the_same_g711(ms: float) -> None:
    said = speech("allison-10s").samples
    plain = decode_packets(G711, encode_packets(G711, said))
    other = hear(trace_of(at_ptime(G711, ms), said), G711, "fixed:60")
    assert np.array_equal(other.audio[first_played(other) :][: len(said)], plain[: len(said)])
    assert listening_quality(said, other.audio, 8000).pesq.mos_lqo == pytest.approx(4.46, abs=0.01)


@pytest.mark.parametrize(
    ("spec", "ms"), [("g711u", 5), ("g711u", 15), ("gsm", 60), ("speex", 40), ("opus", 2.5), ("opus", 40)]
)
def test_blame_lays_all_on_the_codec(spec: str, ms: float) -> None:
    of = at_ptime(codec(spec), ms)
    said = speech("allison-10s", of.sample_rate, seconds=8.0).samples
    heard = hear(trace_of(of, said), codec(spec), "fixed:60")
    found = blame(heard, codec(spec), said)
    assert found.mos_lqo == listening_quality(said, heard.audio, heard.sample_rate).pesq.mos_lqo
    assert found.parts["codec"] == found.reference_mos - loopback(of, said).pesq.mos_lqo
    assert found.parts["loss"] == found.parts["late"] == found.parts["concealment"] == 0.0
    assert found.whole == pytest.approx(found.parts["codec"], abs=0.06)
    assert found.notes == ()


@pytest.mark.parametrize(("spec", "ms"), [("g711u", 5), ("g711u", 15), ("opus", 10), ("opus", 60)])
@pytest.mark.parametrize("buffer", ["fixed:120", "adaptive"])
def test_loss_is_counted_in_packets_and_concealed_in_time(spec: str, ms: float, buffer: str) -> None:
    of = at_ptime(codec(spec), ms)
    said = voice(3.0, of.sample_rate)
    count = len(encode_packets(of, said))
    lost = range(10, count - 10, 10)
    whole = trace_of(of, said, lost=lost)
    for trace in (whole, whole.take(whole.arrived)):
        heard = hear(trace, codec(spec), buffer)
        assert heard.shares["lost_ratio"] == pytest.approx(len(lost) / count)
        assert heard.shares["played_ratio"] == pytest.approx(1 - len(lost) / count)
        concealed_ns = heard.account.pulls_from(Fate.CONCEALED) * heard.played.frames.stream.frame_ns
        assert concealed_ns == len(lost) * ms * MS


@pytest.mark.parametrize(
    ("spec", "ptimes"), [*MIXED, ("g711u", (15,)), ("opus", (2.5,)), ("opus", (120,)), ("gsm", (60,))]
)
@pytest.mark.parametrize("buffer", ["pjmedia", "pjmedia:prefetch=240"])
def test_pjmedia_plays_or_sheds_packets_of_any_length(spec: str, ptimes: tuple[float, ...], buffer: str) -> None:
    """Its depth follows the bursts; nothing is late or lost on the way, and what it plays stays in order."""
    of = codec(spec)
    heard = hear(trace_at(of, voice(4.0, of.sample_rate), ptimes), of, buffer)
    shares = heard.shares
    assert shares["late_ratio"] == shares["lost_ratio"] == 0.0
    assert shares["played_ratio"] > 0.85
    played = heard.played.frame[heard.played.frame >= 0]
    assert (np.diff(played) > 0).all()
    assert 4.0 <= len(heard.audio) / heard.sample_rate < 4.6


@pytest.mark.parametrize("ms", [1, 5, 10, 20])
def test_concealment_of_short_packets_is_no_worse(ms: float) -> None:
    """The same 20 ms of a vowel are missing, in packets of any length."""
    t = np.arange(16000)
    sound = np.asarray(8000 * np.sin(2 * np.pi * t / 40) + 3000 * np.sin(4 * np.pi * t / 40), dtype=np.int16)
    of, each = at_ptime(G711, ms), round(20 / ms)
    lost = range(40 * each, 41 * each)
    whole = hear(trace_of(of, sound), G711, "fixed:60", concealment="silence").audio.astype(float)
    silent = hear(trace_of(of, sound, lost=lost), G711, "fixed:60", concealment="silence").audio.astype(float)
    for way in ("wsola", "repeat"):
        concealed = hear(trace_of(of, sound, lost=lost), G711, "fixed:60", concealment=way).audio.astype(float)
        assert np.sum((concealed - whole) ** 2) < 0.25 * np.sum((silent - whole) ** 2)


def test_fec_brings_long_frames_back() -> None:
    base = codec("opus:32000,fec=1,loss=20")
    for ms in (40, 60):
        of = at_ptime(base, ms)
        said = voice(4.0)
        lost = range(10, round(4000 / ms) - 5, 7)
        errors = {}
        for way in ("codec", "fec"):
            heard = hear(trace_of(of, said, lost=lost), base, "fixed:200", concealment=way)
            whole = hear(trace_of(of, said), base, "fixed:200", concealment=way)
            errors[way] = np.mean((heard.audio.astype(float) - whole.audio) ** 2)
        assert errors["fec"] < 0.7 * errors["codec"]


def test_a_short_last_packet_changes_nothing_but_the_end() -> None:
    said = voice(1.0)
    trace = trace_of(G711, said)
    assert trace.payloads is not None
    payloads = [trace.payloads[row] for row in range(len(trace))]
    payloads[-1] = payloads[-1][:37]
    short = replace(
        trace, size=np.array([len(one) for one in payloads], dtype=np.int32), payloads=Payloads.of(payloads)
    )
    heard = hear(short, G711, "fixed:60")
    assert heard.played.frames.stream.frame_ticks == 80
    assert np.array_equal(
        heard.audio[480 : 480 + 49 * 160 + 37], decode_packets(G711, packets(G711, said))[: 49 * 160 + 37]
    )
    assert any("1 packets do not hold a whole number" in note for note in heard.notes)


def test_packets_that_hold_nothing_of_their_codec_are_missed_and_told() -> None:
    of = codec("gsm")
    trace = trace_of(of, voice(1.0))
    assert trace.payloads is not None
    payloads = [trace.payloads[row] if row != 20 else b"\xd5" * 9 for row in range(len(trace))]
    heard = hear(
        replace(trace, size=np.array([len(one) for one in payloads], dtype=np.int32), payloads=Payloads.of(payloads)),
        of,
        "fixed:60",
    )
    assert heard.shares["concealed_ratio"] == pytest.approx(1 / 50)
    assert any("1 packets" in note for note in heard.notes)


def test_cut_packets_are_made_again_at_their_own_length() -> None:
    for spec, ms in (("g711u", 15), ("opus:24000", 40)):
        of = at_ptime(codec(spec), ms)
        said = voice(2.4, of.sample_rate)
        trace = trace_of(of, said, first_timestamp=0)
        assert trace.payloads is not None
        cut = Payloads(
            trace.payloads.data, trace.payloads.start, np.minimum(trace.payloads.captured, 3).astype(np.int32)
        )
        heard = hear(replace(trace, payloads=cut), codec(spec), "fixed:60", reference=said, reference_offset=0)
        plain = hear(trace, codec(spec), "fixed:60")
        assert np.array_equal(heard.audio, plain.audio)


@pytest.mark.parametrize(
    ("ptimes", "frame_ms"), [((20,), 10), ((30,), 10), ((5, 20), 5), ((15,), 5), ((7,), 7), ((1,), 1), ((60, 40), 10)]
)
def test_the_playing_grid_of_g711(ptimes: tuple[float, ...], frame_ms: float) -> None:
    frames = frames_of(trace_at(G711, voice(1.0), ptimes), G711)
    assert frames.stream.frame_ns == frame_ms * MS


@pytest.mark.parametrize("buffer", ["fixed:400", "oracle:400"])
@pytest.mark.parametrize("sizes", [(1460, 588), (1461, 587)])
def test_packets_that_fill_those_of_the_network_are_played_whole(sizes: tuple[int, int], buffer: str) -> None:
    """As ffmpeg sends G.711: 2,048 samples at a time, in two packets whose lengths are no milliseconds."""
    said = voice(32 * 2048 / 8000)
    sound = b"".join(packets(G711, said))[: 32 * 2048]
    payloads = [
        sound[at : at + size]
        for block in range(0, len(sound), 2048)
        for at, size in ((block, sizes[0]), (block + sizes[0], sizes[1]))
    ]
    begins = np.cumsum([0, *map(len, payloads)])[:-1]
    sent = [
        Datagram(
            START_NS + int(begin) // 2048 * 256 * MS,
            bytes(RtpPacket(payload_type=0, sequence=i, timestamp=int(begin), ssrc=7, payload=payload)),
        )
        for i, (begin, payload) in enumerate(zip(begins, payloads, strict=True))
    ]
    (stream,) = parse_capture(pcap(sent)).streams
    heard = hear(stream.trace, G711, buffer, concealment="silence")
    assert heard.played.frames.stream.frame_ns == (500_000 if sizes[0] == 1460 else 125_000)
    assert heard.notes == ()
    assert heard.shares["played_ratio"] == 1.0
    plain = G711.decoder().decode(sound)
    begin = first_played(heard)
    assert np.array_equal(heard.audio[begin : begin + len(plain)], plain)
