"""Comfort noise: its level and spectrum as RFC 3389 has them, and when it is played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear import comfort, hear
from earwitness.ear.buffers import buffer
from earwitness.ear.comfort import OVERLOAD, ComfortNoise, Noise, noise_in_force
from earwitness.ear.frames import frames_of
from earwitness.ear.replay import replay
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import Payloads, Trace
from testing.ear.traces import trace_of, voice

FRAMES = slice(40, 90)


def with_noise(trace: Trace, *packets: tuple[int, int, bytes]) -> Trace:
    """`trace` with comfort noise: (packet after which, packets' lengths of time after it, payload) each."""
    assert trace.payloads is not None
    rows, arrived = list(range(len(trace))), trace.arrived_ns.tolist()
    for after, later, _ in packets:
        rows.append(after)
        arrived.append(int(trace.arrived_ns[after]) + later * 20_000_000)
    noise = np.arange(len(rows)) >= len(trace)
    more = trace.take(np.array(rows))
    sequence, timestamp = more.sequence.copy(), more.timestamp.copy()
    for place, (after, later, _) in enumerate(packets):
        timestamp[len(trace) + place] = trace.timestamp[after] + later * 160
        sequence[sequence > trace.sequence[after]] += 1
        sequence[len(trace) + place] = trace.sequence[after] + 1
    payloads = [trace.payloads[row] for row in range(len(trace))] + [payload for _, _, payload in packets]
    changed = type(trace)(
        **{
            **vars(more),
            "sequence": sequence,
            "timestamp": timestamp,
            "payload_type": np.where(noise, 13, more.payload_type).astype(np.uint8),
            "size": np.array([len(payload) for payload in payloads], dtype=np.int32),
            "payloads": Payloads.of(payloads),
        }
    )
    return changed.with_arrivals(np.array(arrived, dtype=np.int64))


def paused(payload: bytes, spec: str = "g711u") -> tuple[Trace, np.ndarray]:
    """A call with a pause of a second, of which a packet tells the noise, and where in frames the pause is."""
    c = codec(spec)
    return with_noise(trace_of(c, voice(4.0), pauses=[(40, 90)]), (39, 1, payload)), np.arange(40, 90)


def loudness(sound: np.ndarray) -> float:
    return float(20 * np.log10(np.std(sound.astype(float)) / OVERLOAD))


@pytest.mark.parametrize("level", [20, 45, 60])
@pytest.mark.parametrize("reflection", [b"", bytes([40]), bytes([200, 90]), bytes(range(60, 200, 14))])
def test_noise_is_as_loud_as_its_packet_says(level: int, reflection: bytes) -> None:
    noise = Noise.parse(bytes([0x80 | level]) + reflection)
    assert noise is not None
    sound = np.concatenate([ComfortNoise(3).make(noise, 80_000)])
    assert loudness(sound) == pytest.approx(-level, abs=0.3)


def test_noise_has_the_spectrum_of_its_reflection_coefficients() -> None:
    noise = Noise.parse(bytes([30, 127 - 100]))
    assert noise is not None
    k = 258 * -100 / 32768
    assert list(noise.reflection) == [pytest.approx(k)]
    sound = ComfortNoise(1).make(noise, 200_000).astype(float)
    # A first-order filter 1 / (1 + k z^-1): neighbouring samples correlate with -k.
    assert np.corrcoef(sound[1:], sound[:-1])[0, 1] == pytest.approx(-k, abs=0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "coefficients",
    [bytes([255]), bytes([100, 255, 30]), bytes(10), bytes([254] * 10), bytes([254, 0] * 5), bytes([250] * 1300)],
)
def test_no_payload_makes_noise_louder_than_it_says(coefficients: bytes) -> None:
    made = ComfortNoise(2)
    for level in (20, 30):
        noise = Noise.parse(bytes([level]) + coefficients)
        assert noise is not None
        assert len(noise.reflection) <= 10
        sound = np.concatenate([made.make(noise, 160) for _ in range(500)])
        assert np.abs(sound).max() < 6 * noise.rms


def test_noise_goes_on_over_pieces_and_is_the_same_for_a_seed() -> None:
    noise = Noise(500.0, (-0.9, 0.3))
    whole = ComfortNoise(5).make(noise, 4000)
    again = ComfortNoise(5)
    assert np.array_equal(whole, np.concatenate([again.make(noise, 160) for _ in range(25)]))
    assert not np.array_equal(whole, ComfortNoise(6).make(noise, 4000))


def test_an_empty_packet_tells_nothing() -> None:
    assert Noise.parse(b"") is None


@pytest.mark.parametrize("buffer", ["fixed:60", "adaptive"])
def test_a_pause_is_filled_with_its_noise_until_speech_goes_on(buffer: str) -> None:
    c = codec("g711u")
    trace, _ = paused(bytes([35]))
    heard = hear(trace, c, buffer)
    silent = hear(trace.take(trace.payload_type == 0), c, buffer)
    source = heard.account.source.reshape(-1, 2)[:, 0]
    first = int(np.flatnonzero(source == 0)[0])
    frames = heard.audio.reshape(-1, 160)[first:]
    pause = np.flatnonzero(heard.played.frame.reshape(-1, 2)[first:, 0] < 0)
    assert 40 <= len(pause) <= 60
    assert loudness(frames[pause].reshape(-1)) == pytest.approx(-35, abs=0.7)
    assert heard.shares["pause_ratio"] > 0.2
    assert heard.shares["concealed_ratio"] == 0.0
    # Speech before the pause is untouched.
    assert np.array_equal(frames[:39], silent.audio.reshape(-1, 160)[first:][:39])


def test_a_later_packet_takes_over_at_its_own_instant() -> None:
    c = codec("gsm")
    trace = with_noise(trace_of(c, voice(4.0), pauses=[(40, 90)]), (39, 1, bytes([30])))
    last = int(np.flatnonzero(trace.payload_type == 13)[0])
    trace = with_noise(trace, (last, 25, bytes([60])))
    heard = hear(trace, c, "fixed:60")
    pause = np.flatnonzero(heard.played.frame < 0)
    pause = pause[pause > 10]
    frames = heard.audio.reshape(-1, 160)
    assert loudness(frames[pause[:24]].reshape(-1)) == pytest.approx(-30, abs=1)
    assert loudness(frames[pause[26:48]].reshape(-1)) == pytest.approx(-60, abs=1)


def test_the_published_phone_plays_none_and_the_seed_is_asked_for() -> None:
    c = codec("g711u")
    trace, _ = paused(bytes([30]))
    without = trace.take(trace.payload_type == 0)
    assert np.array_equal(hear(trace, c, "pjmedia").audio, hear(without, c, "pjmedia").audio)
    one, same, other = (hear(trace, c, "fixed:60", seed=seed).audio for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_more_noise_packets_than_speech_do_not_make_noise_the_codec() -> None:
    c = codec("g711u")
    trace = trace_of(c, voice(0.2))
    many = with_noise(trace, *[(4, 1 + place, bytes([50])) for place in range(15)])
    assert int((many.payload_type == 13).sum()) > int((many.payload_type == 0).sum())
    assert frames_of(many, c).count.sum() == 2 * len(trace)


def test_the_noise_in_force_is_the_last_sent_of_those_that_were_here_and_due() -> None:
    """Against the definition, pull by pull, with packets in any order."""
    rng = np.random.default_rng(4)
    filled = 0
    for _ in range(30):
        trace = trace_of(codec("g711u"), voice(2.0), delay_ms=rng.integers(0, 300, 100).tolist())
        noise = rng.random(100) < 0.5
        payloads = [bytes([int(rng.integers(30, 60))]) if there else bytes(160) for there in noise]
        trace = replace(
            trace,
            payload_type=np.where(noise, 13, 0).astype(np.uint8),
            size=np.array([len(one) for one in payloads], dtype=np.int32),
            payloads=Payloads.of(payloads),
            sequence=rng.permutation(trace.sequence) if rng.random() < 0.5 else trace.sequence,
        )
        frames = frames_of(trace, codec("g711u"))
        played = replay(trace, frames, buffer("fixed:100"))
        which, noises = noise_in_force(trace, played)
        last = None
        for pull in range(len(played)):
            if played.frame[pull] >= 0:
                last = pull
            due = [
                row
                for row in np.flatnonzero(noise).tolist()
                if last is not None
                and last != pull
                and trace.arrived_ns[row] <= played.asked_ns[pull]
                and trace.sequence[row] > trace.sequence[frames.packet[played.frame[last]]]
                and trace.timestamp[row] <= played.end[last] + (pull - last - 1) * 80
            ]
            expected = max(due, key=lambda row: trace.sequence[row]) if due else -1
            assert which[pull] == expected
            filled += bool(due)
        assert set(noises) == set(which[which >= 0].tolist())
    assert filled > 1000


@pytest.mark.timeout(120)
def test_a_flood_of_noise_packets_costs_what_it_has_packets() -> None:
    count = 10_000
    trace = trace_of(codec("g711u"), np.zeros(count * 160, dtype=np.int16))
    payloads = [b"\x32" if row % 3 else bytes(160) for row in range(count)]
    trace = replace(
        trace,
        payload_type=np.where(np.arange(count) % 3 > 0, 13, 0).astype(np.uint8),
        size=np.array([len(one) for one in payloads], dtype=np.int32),
        payloads=Payloads.of(payloads),
    )
    heard = hear(trace, codec("g711u"), "fixed:60")
    assert np.count_nonzero(heard.audio) > count * 50


def test_noise_made_at_once_is_noise_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise.parse(b"\x28\x90\x70\x88")
    assert noise is not None
    whole = ComfortNoise(7).make(noise, 10_000)
    monkeypatch.setattr(comfort, "_BLOCK", 999)
    assert np.array_equal(ComfortNoise(7).make(noise, 10_000), whole)
