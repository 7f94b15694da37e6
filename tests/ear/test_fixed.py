from __future__ import annotations

import numpy as np
import pytest

from earwitness.ear import hear
from earwitness.errors import InputError
from earwitness.speech.codecs.base import decode_packets
from earwitness.speech.codecs.registry import codec
from testing.ear.traces import MS, START_NS, packets, trace_of, voice

CODECS = ("g711u", "g711a", "gsm", "speex", "opus:24000")


@pytest.mark.parametrize("spec", CODECS)
@pytest.mark.parametrize("buffer", ["fixed:400", "adaptive", "oracle:400"])
def test_ample_delay_plays_what_the_plain_decoder_gives_sample_for_sample(spec: str, buffer: str) -> None:
    c = codec(spec)
    jitter = np.random.default_rng(1).uniform(10, 40, 100)
    heard = hear(trace_of(c, voice(2.0), delay_ms=jitter), c, buffer)
    plain = decode_packets(c, packets(c, voice(2.0)))
    speech = heard.audio[np.flatnonzero(heard.account.source == 0)[0] * c.frame_samples :][: len(plain)]
    assert np.array_equal(speech, plain)
    assert heard.shares["concealed_ratio"] == 0.0


@pytest.mark.parametrize("delay_ms", [0.0, 33.0, 60.0, 150.5])
def test_every_frame_plays_the_fixed_delay_after_it_would_with_the_first_packets_delay(delay_ms: float) -> None:
    c = codec("g711u")
    heard = hear(trace_of(c, voice(), delay_ms=50.0), c, f"fixed:{delay_ms}")
    assert heard.playout_delay_ms == pytest.approx(
        delay_ms + 10.0 * heard.played.frames.part[heard.account.pull >= 0], abs=1e-6
    )
    # Spoken 20 ms before it was sent, 50 ms on the way.
    assert heard.mouth_to_ear_mean_ms == pytest.approx(20 + 50 + delay_ms)
    assert heard.mouth_to_ear_basis == "sent"


def test_late_packets_are_late_and_the_rest_is_played() -> None:
    c = codec("g711u")
    delay = np.full(100, 30.0)
    delay[[20, 50, 51]] = [61.0, 140.0, 120.0]
    delay[70] = 60.0
    heard = hear(trace_of(c, voice(), delay_ms=delay), c, "fixed:30")
    late = heard.ledger[heard.ledger.fate == "late"]
    assert sorted(set(late.packet.map(lambda row: heard.trace.sequence[row] - 65_500))) == [20, 50, 51]
    assert heard.shares["late_ratio"] == pytest.approx(0.03)
    assert heard.shares["concealed_ratio"] == pytest.approx(0.03)


def test_a_pause_of_silence_suppression_is_no_concealment() -> None:
    c = codec("gsm")
    trace = trace_of(c, voice(4.0), pauses=[(40, 90)], delay_ms=25.0)
    heard = hear(trace, c, "fixed:60")
    assert heard.shares["concealed_ratio"] == 0.0
    assert heard.shares["pause_ratio"] == pytest.approx(50 / 200, abs=0.02)
    assert heard.shares["played_ratio"] == 1.0


def test_a_loss_in_a_capture_at_the_receiver_alone_is_counted() -> None:
    c = codec("g711u")
    whole = trace_of(c, voice(), lost=(10, 11, 60))
    alone = whole.take(whole.arrived)
    heard, alone_heard = hear(whole, c, "fixed:60"), hear(alone, c, "fixed:60")
    assert heard.shares["lost_ratio"] == alone_heard.shares["lost_ratio"] == pytest.approx(0.03)
    assert np.array_equal(heard.audio, alone_heard.audio)


def test_audio_time_is_joined_to_the_arrival_clock() -> None:
    c = codec("g711u")
    heard = hear(trace_of(c, voice(), delay_ms=30.0), c, "fixed:80")
    first = heard.ledger[heard.ledger.packet == 0].iloc[0]
    assert first.played_ns == START_NS + 110 * MS
    assert heard.origin_ns + first.audio_ms * MS == first.played_ns


def test_a_new_timeline_does_not_stop_the_ear() -> None:
    c = codec("g711u")
    trace = trace_of(c, voice(4.0))
    jump = np.where(np.arange(len(trace)) < 100, 0, 5_000_000)
    moved = type(trace)(**{**vars(trace), "timestamp": trace.timestamp + jump})
    for buffer in ("fixed:60", "pjmedia", "adaptive"):
        heard = hear(moved, c, buffer)
        assert heard.shares["played_ratio"] > 0.95
        assert len(heard.audio) < 6 * 8000


def test_a_trace_that_nothing_arrived_of_is_refused() -> None:
    c = codec("g711u")
    trace = trace_of(c, voice(0.1), lost=range(5))
    with pytest.raises(InputError, match="no packet arrived"):
        hear(trace, c, "fixed:60")


@pytest.mark.parametrize("spec", ["fixed", "fixed:x", "fixed:-1", "nosuch:3", "adaptive:0", "pjmedia:capacity=1", ""])
def test_a_buffer_that_cannot_be_is_refused_in_one_line(spec: str) -> None:
    c = codec("g711u")
    with pytest.raises(InputError) as caught:
        hear(trace_of(c, voice(0.2)), c, spec)
    assert "\n" not in str(caught.value)
