from __future__ import annotations

import itertools
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.errors import CallFailure, Outcome
from earwitness.phone.packets import HANGOVER_MS, active_packets, packet_levels_dbov, speech_packets
from earwitness.speech.codecs.base import packet_samples, packet_ticks
from earwitness.speech.codecs.registry import CODEC_NAMES, codec
from earwitness.trace.rtp import RtpPacket
from testing.speech.encodable import encodable


def tone(seconds: float, rate: int = 8000, peak: int = 8000) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * 400 * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def pause(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * 8000), dtype=np.int16)


def test_levels_are_relative_to_full_scale() -> None:
    square = np.tile(np.array([32767, -32767], dtype=np.int16), 800)
    assert packet_levels_dbov(square, 160) == pytest.approx(0, abs=0.001)
    assert packet_levels_dbov(tone(1, peak=32767), 160) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("name", encodable(CODEC_NAMES))
def test_one_packet_a_slot_and_the_timestamps_step(name: str) -> None:
    chosen = codec(name)
    speech = speech_packets(tone(1.0, chosen.sample_rate), chosen)
    wire = [RtpPacket.parse(packet) for packet in speech.rtp(96, 5, 65_530, 2**32 - 800) if packet]
    packets = ceil(1000 / chosen.packet_ms)
    assert len(wire) == packets
    ticks = {(b.timestamp - a.timestamp) % 2**32 for a, b in itertools.pairwise(wire)}
    assert ticks == {packet_ticks(chosen)}
    assert {(b.sequence - a.sequence) % 2**16 for a, b in itertools.pairwise(wire)} == {1}
    assert [packet.marker for packet in wire] == [True] + (packets - 1) * [False]
    frames = chosen.split(wire[0].payload)
    assert len(frames) * chosen.frame_samples == packet_samples(chosen)


def test_speech_is_looped_to_the_seconds_asked_for() -> None:
    samples = (np.arange(8000) % 997 * 30 - 15000).astype(np.int16)
    chosen = codec("g711u")
    looped = speech_packets(samples, chosen, seconds=2.5)
    assert looped.seconds == 2.5
    assert looped.payloads[:50] == looped.payloads[50:100]


def test_the_last_packet_is_filled_with_silence() -> None:
    speech = speech_packets(tone(0.5)[:170], codec("g711u"))
    assert len(speech.payloads) == 2
    assert speech.payloads[1] is not None
    assert speech.payloads[1][20:] == b"\xff" * 140


def test_silence_is_not_sent_and_time_goes_on() -> None:
    samples = np.concatenate([pause(0.5), tone(1.0), pause(2.0), tone(1.0), pause(0.5)])
    speech = speech_packets(samples, codec("g711u"), silence_suppression=True)
    wire = [RtpPacket.parse(packet) for packet in speech.rtp(0, 5, 0, 0) if packet]
    starts = [packet for packet in wire if packet.marker]
    assert [packet.timestamp for packet in starts] == [24 * 160, 174 * 160]  # one packet before the sound
    assert [packet.sequence for packet in wire] == list(range(len(wire)))
    assert len(wire) == 2 * (50 + 1 + HANGOVER_MS // 20)
    assert speech.sent == len(wire)


@given(st.lists(st.floats(-95, 0), max_size=300), st.floats(0.5, 20))
def test_activity_covers_all_that_is_loud(levels: list[float], gain: float) -> None:
    array = np.array(levels, dtype=np.float64)
    active = active_packets(array)
    assert len(active) == len(array)
    assert active[array > -42].all()
    assert not active[: max(0, len(array) - 1)].any() or (array > -60).any()


def test_no_speech_is_a_typed_ending() -> None:
    with pytest.raises(CallFailure) as caught:
        speech_packets(np.zeros(0, dtype=np.int16), codec("g711u"))
    assert caught.value.outcome is Outcome.SPEECH_UNUSABLE


@pytest.mark.parametrize("spec", ["g711u:ptime=5", "speex:ptime=60", "opus:24000,ptime=40", "opus:24000,ptime=2.5"])
def test_packets_of_other_lengths_hold_that_much_speech(spec: str) -> None:
    chosen = codec(spec)
    speech = speech_packets(tone(1.2), chosen)
    assert speech.seconds == 1.2
    assert speech.ticks_a_packet == chosen.clock_rate * chosen.packet_ms / 1000
    assert {chosen.samples_in(payload) for payload in speech.payloads if payload} == {8 * chosen.packet_ms}
