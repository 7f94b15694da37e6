"""How much is played is bounded by what arrived and when, not by what the packets claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from earwitness.ear.clock import playing_clock
from earwitness.ear.frames import frames_of
from earwitness.ear.hear import Heard, hear
from earwitness.ear.span import LEAP_SECONDS, leap_seconds, room_for_packets, without_leaps
from earwitness.errors import InputError
from earwitness.replay.blame import blame
from earwitness.score.kind import ScorerRefused
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import LOST, Payloads, Trace
from testing.ear.traces import MS, START_NS, trace_of, voice

G711 = codec("g711u")
BUFFERS = ("fixed:60", "pjmedia", "adaptive", "oracle:100")
HOUR_NS = 3600 * 1_000_000_000


def stream(
    count: int,
    timestamp: NDArray[np.int64] | None = None,
    sequence: NDArray[np.int64] | None = None,
    arrived_ns: NDArray[np.int64] | None = None,
) -> Trace:
    """G.711 packets, every 20 ms unless told otherwise."""
    whole = trace_of(G711, voice(count / 50))
    steady = START_NS + np.arange(count) * 20 * MS
    return replace(
        whole,
        timestamp=whole.timestamp if timestamp is None else timestamp,
        sequence=whole.sequence if sequence is None else sequence,
        sent_ns=steady if arrived_ns is None else arrived_ns,
        arrived_ns=steady if arrived_ns is None else arrived_ns,
    )


def with_payloads(trace: Trace, payloads: list[bytes]) -> Trace:
    size = np.array([len(one) for one in payloads], dtype=np.int32)
    return replace(trace, size=size, payloads=Payloads.of(payloads))


def bounded(heard: Heard, seconds: float) -> None:
    assert len(heard.audio) / heard.sample_rate <= seconds
    unseen = 2 * (3000 + room_for_packets(heard.trace))
    assert len(heard.ledger) <= len(heard.played) + len(heard.played.frames) + unseen


@pytest.mark.timeout(60)
@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize(
    "timestamp",
    [
        np.arange(20) * 2**31,
        np.arange(20) * 2**24,
        np.arange(20) * -(2**40),
        np.arange(200) % 2 * 2**25 + np.arange(200) * 160,
    ],
    ids=["2^31", "2^24", "backwards", "alternating"],
)
def test_leaping_timestamps(buffer: str, timestamp: NDArray[np.int64]) -> None:
    trace = stream(len(timestamp), timestamp)
    heard = hear(trace, G711, buffer)
    bounded(heard, len(trace) / 50 + 2 * LEAP_SECONDS)
    assert any("timestamps jump" in note or "timestamps leap" in note for note in heard.notes)


def test_what_leaps_is_placed_by_its_arrival() -> None:
    steady = stream(100)
    for seconds in (0, 3, 100_000, -100_000):
        jump = np.where(np.arange(100) < 50, 0, seconds * 8000)
        trace = replace(steady, timestamp=steady.timestamp + jump)
        assert (leap_seconds(trace) > 0) == (abs(seconds) > 600)
        expected = steady.timestamp if abs(seconds) > LEAP_SECONDS else trace.timestamp
        assert np.array_equal(without_leaps(trace).timestamp, expected)
    # What never arrived goes where the one sent before it does.
    jump = np.where(np.arange(100) < 50, 0, 2**40)
    arrived = np.where(np.isin(np.arange(100), (20, 70)), LOST, steady.arrived_ns)
    trace = replace(steady, timestamp=steady.timestamp + jump, arrived_ns=steady.arrived_ns).with_arrivals(arrived)
    found = without_leaps(trace)
    assert np.array_equal(np.sort(found.timestamp), steady.timestamp)
    assert np.array_equal(found.timestamp[np.argsort(found.sequence)], steady.timestamp)


@pytest.mark.parametrize("buffer", BUFFERS)
def test_leaping_sequence_numbers(buffer: str) -> None:
    heard = hear(stream(500, sequence=np.arange(500) * 2999), G711, buffer)
    bounded(heard, 30.0)
    (note,) = heard.notes
    assert "the sender restarted its numbering 499 times" in note
    assert heard.shares["lost_ratio"] == 0.0


def test_losses_that_had_time_are_all_counted() -> None:
    # Every other packet lost, known from the holes alone; and one hole of two seconds.
    sequence = np.arange(200) * 2 + np.where(np.arange(200) < 100, 0, 100)
    heard = hear(stream(200, sequence * 160, sequence, START_NS + sequence * 20 * MS), G711, "fixed:60")
    assert heard.notes == ()
    assert int((heard.ledger["packet"] < 0).sum()) >= 2 * (199 + 100)


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("apart_ns", [3 * HOUR_NS, 24 * 365 * HOUR_NS])
def test_hours_in_which_nothing_arrives_are_refused(buffer: str, apart_ns: int) -> None:
    with pytest.raises(InputError, match="packets arrived over") as caught:
        hear(stream(10, arrived_ns=START_NS + np.arange(10) // 5 * apart_ns), G711, buffer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("concealment", ["silence", "repeat", "wsola", "codec"])
def test_minutes_on_hold_are_played(concealment: str) -> None:
    held = np.where(np.arange(100) < 50, 0, 300_000)
    trace = stream(100, np.arange(100) * 160 + held * 8, arrived_ns=START_NS + (np.arange(100) * 20 + held) * MS)
    heard = hear(trace, G711, "fixed:60", concealment=concealment)
    assert heard.notes == ()
    assert len(heard.audio) == pytest.approx(302 * 8000, abs=800)


@pytest.mark.parametrize("name", ["g711u", "gsm", "speex"])
def test_a_packet_that_claims_seconds_of_speech(name: str) -> None:
    of = codec(name)
    trace = with_payloads(trace_of(of, voice(0.4)), [bytes(1400)] * 5 + [bytes(60_000)] * 15)
    frames = frames_of(trace, of)
    assert frames.count.max() * frames.frame_samples <= 0.3 * of.sample_rate
    # GSM's frames do not begin with 0, which is not decoded but is split.
    for buffer in BUFFERS:
        heard = hear(trace, of, buffer)
        bounded(heard, 4.5)
        assert any("more than 300 ms" in note for note in heard.notes)


def test_packets_as_long_as_they_may_be_are_whole() -> None:
    trace = with_payloads(stream(20), [bytes(1600)] * 20)
    heard = hear(trace, G711, "fixed:60")
    assert int(heard.played.frames.count.max()) == 20
    assert heard.notes == ()


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("reference", [None, voice(1.0)])
def test_packets_without_payload(buffer: str, reference: NDArray[np.int16] | None) -> None:
    whole = stream(20)
    empty = with_payloads(whole, [b""] * 20)
    for trace in (empty, replace(empty, payloads=None), whole.take(np.arange(0))):
        with pytest.raises(InputError, match="reading the frames of"):
            hear(trace, G711, buffer, reference=reference)
    cut = replace(whole, payloads=Payloads(np.zeros(0, np.uint8), np.zeros(20, np.int64), np.zeros(20, np.int32)))
    for trace in (cut, replace(whole, payloads=None)):
        if reference is None:
            with pytest.raises(InputError, match="decoding"):
                hear(trace, G711, buffer)
        else:
            assert len(hear(trace, G711, buffer, reference=reference).audio)


def test_only_what_never_arrived_is_speech() -> None:
    trace = stream(20)
    trace = replace(trace, payload_type=np.where(np.arange(20) < 5, 13, 0).astype(np.uint8))
    trace = trace.with_arrivals(np.where(np.arange(20) < 5, trace.arrived_ns, LOST))
    for buffer in BUFFERS[:3]:
        assert not hear(trace, G711, buffer).audio.any()
    with pytest.raises(InputError, match="no packet with speech arrived"):
        hear(trace, G711, "oracle:100")


def test_blame_of_repeats_of_a_packet_without_speech() -> None:
    of = codec("gsm")
    trace = with_payloads(trace_of(of, voice(0.4)), [bytes(33)] * 20)
    kind = np.where(np.arange(20) < 3, 13, of.payload_type).astype(np.uint8)
    heard = hear(replace(trace, sequence=np.full(20, 7), payload_type=kind), of, "fixed:60")
    with pytest.raises(ScorerRefused, match="are repeats"):
        blame(heard, of, voice(1.0))


def test_blame_of_packets_of_one_size_with_fewer_frames_in_some() -> None:
    """Speex's frames are of several sizes, so that as many bytes hold one frame or many."""
    of = codec("speex")
    trace = trace_of(of, voice(2.0))
    payloads = [trace.payloads[row] for row in range(len(trace))] if trace.payloads else []
    changed = with_payloads(trace, [bytes(len(one)) if row % 7 == 0 else one for row, one in enumerate(payloads)])
    heard = hear(changed, of, "fixed:60")
    assert sum(blame(heard, of, voice(2.0)).parts.values()) == pytest.approx(blame(heard, of, voice(2.0)).whole)


def test_the_clock_of_a_phone_whose_timestamps_leap_is_none() -> None:
    steady = stream(50)
    assert len(playing_clock(steady)) == 50
    for leap in (2**31, 2**50):
        assert not len(playing_clock(replace(steady, timestamp=steady.timestamp + np.arange(50) * leap)))


def test_a_clock_without_ticks_or_of_days_is_refused() -> None:
    with pytest.raises(InputError, match="no tick"):
        hear(stream(50), G711, "pjmedia", clock_ns=[])
    with pytest.raises(InputError, match="four hours"):
        hear(stream(50), G711, "pjmedia", clock_ns=np.arange(1_000_000) * 20 * MS)


def test_timestamps_before_zero_play_as_others() -> None:
    steady = stream(50)
    for buffer in BUFFERS:
        early = replace(steady, timestamp=steady.timestamp - 2**40)
        assert np.array_equal(hear(early, G711, buffer).audio, hear(steady, G711, buffer).audio)
