"""Packets that cannot be read last as long as their timestamps and sizes tell; pauses between them stay pauses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear.buffers import buffer
from earwitness.ear.frames import frames_of
from earwitness.ear.played import play, received
from earwitness.ear.timed import timed
from earwitness.ear.told_lengths import told_lengths
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import Trace
from testing.ear.paced import paced

BUFFERS = ("pjmedia", "fixed:60", "adaptive", "oracle:200")
CHANGES = {
    "20 to 30": [20] * 200 + [30] * 130,
    "30 to 20": [30] * 130 + [20] * 200,
    "20 to 60 and back": [20] * 120 + [60] * 70 + [20] * 60,
    "in turn": [20, 30, 20, 10] * 80,
    "mixed": np.random.default_rng(3).choice([20, 40, 60], 250).tolist(),
}
SHARES = ("played_ratio", "lost_ratio", "late_ratio", "discarded_ratio", "concealed_ratio", "pause_ratio")


def shares(trace: Trace, spec: str, *, read: bool = False) -> list[float]:
    """What a buffer makes of a trace of G.711, `read` or only by its timestamps, to a thousandth."""
    ear = buffer(spec)
    here = received(trace, codec("g711u"), ear) if read else received(*timed(trace, "unheard-of"), ear)
    figures = play(here, ear).figures()
    return [float(figures[name]) for name in SHARES]


@pytest.mark.parametrize("spec", BUFFERS)
@pytest.mark.parametrize("change", CHANGES)
def test_packets_of_changing_lengths_are_played_without_pauses(change: str, spec: str) -> None:
    trace = paced(CHANGES[change])
    played, *_, pauses = shares(trace, spec)
    assert played == 1
    assert pauses < 0.02
    assert shares(trace, spec) == pytest.approx(shares(trace, spec, read=True), abs=0.011)


@pytest.mark.parametrize("name", ["opus", "G723", "EVS"])
def test_packets_with_a_tag_or_of_any_codec_tell_their_length(name: str) -> None:
    lengths = [20] * 150 + [60] * 60 + [20, 60] * 30
    sizes = [40 * ms // 20 + 10 for ms in lengths]
    trace, stand_in = timed(paced(lengths, sizes=sizes, name=name, clock_rate=48_000), name)
    assert (frames_of(trace, stand_in).packet_ns // 1_000_000).tolist() == lengths


def test_a_varying_rate_hides_no_length() -> None:
    lengths = [20] * 150 + [60] * 70
    noise = np.random.default_rng(4).uniform(0.6, 1.5, len(lengths))
    trace, stand_in = timed(paced(lengths, sizes=(2 * noise * lengths).astype(int).tolist(), name="opus"), "opus")
    assert (frames_of(trace, stand_in).packet_ns // 1_000_000).tolist() == lengths


@pytest.mark.parametrize("spec", BUFFERS)
@pytest.mark.parametrize("change", ["20 to 30", "20 to 60 and back"])
def test_pauses_among_packets_of_changing_lengths_are_pauses(change: str, spec: str) -> None:
    lengths = CHANGES[change]
    pauses: dict[int, float] = {i: (40, 60, 400, 1000)[i // 10 % 4] for i in range(9, len(lengths), 10)}
    trace = paced(lengths, pauses_ms=pauses)
    told, read = shares(trace, spec), shares(trace, spec, read=True)
    assert told[-1] > 0.3
    assert told == pytest.approx(read, abs=0.02)


@pytest.mark.parametrize("pause_ms", [20, 40, 120, 700])
def test_pauses_of_one_length_are_no_long_packets(pause_ms: int) -> None:
    pauses = dict.fromkeys(range(4, 400, 5), float(pause_ms))
    trace, stand_in = timed(paced([20] * 400, pauses_ms=pauses), "unheard-of")
    assert told_lengths(trace, np.arange(len(trace)), stand_in.sample_rate // 50) is None
    assert shares(trace, "fixed:60")[-1] == pytest.approx(pause_ms / (100 + pause_ms), abs=0.02)


def test_silence_descriptors_between_pauses_are_short() -> None:
    lengths, sizes, pauses = [20] * 300, [41] * 300, {}
    for i in [*range(100, 120), *range(200, 220)]:
        sizes[i], pauses[i] = 15, 140.0
    trace, stand_in = timed(paced(lengths, sizes=sizes, pauses_ms=pauses, name="EVS", clock_rate=16_000), "EVS")
    assert set(frames_of(trace, stand_in).packet_ns.tolist()) == {20_000_000}


def test_packets_before_a_loss_or_a_pause_are_as_long_as_others_of_their_size() -> None:
    lengths = CHANGES["mixed"]
    lost, pauses = set(range(7, 250, 9)), dict.fromkeys(range(3, 250, 13), 500.0)
    trace, stand_in = timed(paced(lengths, lost=lost, pauses_ms=pauses), "unheard-of")
    kept = [ms for i, ms in enumerate(lengths) if i not in lost]
    assert (frames_of(trace, stand_in).packet_ns // 1_000_000).tolist() == kept


def test_one_packet_time_is_told_by_no_odd_step() -> None:
    rng = np.random.default_rng(5)
    plain = paced([20] * 300, lost={50, 51, 200}, pauses_ms={20: 33.0, 90: 7.0})
    clocked = replace(plain, timestamp=plain.timestamp + 8 * rng.integers(-3, 4, len(plain)))
    for trace in (plain, clocked, plain.take(np.repeat(np.arange(len(plain)), 2)), plain.take(np.arange(1))):
        assert told_lengths(trace, np.arange(len(trace)), 160) is None
