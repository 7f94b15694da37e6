"""Whatever happens to the packets, the books balance."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earwitness.ear import Fate, hear
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import LOST, Trace
from testing.ear.traces import MS, trace_of, voice

SPEECH = voice(1.2)
BUFFERS = ("fixed:0", "fixed:45", "pjmedia", "pjmedia:prefetch=60,capacity=200", "adaptive", "adaptive:3", "oracle:50")


@st.composite
def shaken(draw: st.DrawFn) -> Trace:
    """A trace with any delays, losses, duplicates and pauses, near the wrap of sequence numbers and timestamps."""
    c = codec(draw(st.sampled_from(["g711u", "gsm"])))
    pause = draw(st.integers(1, 50))
    pauses = [(pause, pause + draw(st.integers(0, 9)))]
    trace = trace_of(c, SPEECH, pauses=pauses)
    n = len(trace)
    delay = draw(st.lists(st.integers(0, 400), min_size=n, max_size=n))
    lost = draw(st.lists(st.booleans(), min_size=n, max_size=n)) if draw(st.booleans()) else [False] * n
    arrived = trace.sent_ns + np.array(delay, dtype=np.int64) * MS
    arrived[np.array(lost)] = LOST
    arrived[draw(st.integers(0, n - 1))] = trace.sent_ns[0] + 3 * MS
    again = draw(st.lists(st.integers(0, n - 1), max_size=5))
    rows = np.array([*range(n), *again])
    later = np.where(arrived[again] == LOST, LOST, arrived[again] + 7 * MS)
    return trace.take(rows).with_arrivals(np.concatenate([arrived, later]))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shaken(), st.sampled_from(BUFFERS))
def test_each_frame_has_one_fate_and_each_instant_one_source(trace: Trace, buffer: str) -> None:
    c = codec("g711u" if trace.payload_type[0] == 0 else "gsm")
    heard = hear(trace, c, buffer)
    frames, counted = heard.played.frames, heard.account
    assert len(frames) == len(trace) * (2 if c.name == "g711u" else 1)
    # Fates sum to the frames, sources to the pulls, and both to the sound.
    assert sum(counted.frames_with(fate) for fate in Fate) == len(frames)
    sources = (Fate.PLAYED, Fate.STRETCHED, Fate.CONCEALED, Fate.PAUSE)
    assert sum(counted.pulls_from(source) for source in sources) == len(heard.played)
    assert len(heard.audio) == len(heard.played) * c.frame_samples
    # No frame is played twice or before it arrived, and what never arrived is lost.
    plain = counted.pull[counted.fate == 0]
    assert len(np.unique(plain)) == len(plain)
    played = counted.pull >= 0
    assert (trace.arrived_ns[frames.packet[played]] <= heard.played.asked_ns[counted.pull[played]]).all()
    assert counted.frames_with(Fate.LOST) == int((trace.arrived_ns[frames.packet] == LOST).sum())
    # The ledger says the same.
    ledger = heard.ledger
    known = ledger[ledger.packet >= 0]
    assert known.groupby(["packet", "part"]).size().eq(1).all()
    assert len(known) == len(frames)
    assert abs(sum(heard.shares[f"{name}_ratio"] for name in ("played", "late", "lost", "discarded")) - 1.0) < 1e-9
    assert (known.playout_delay_ms.dropna() >= 0).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shaken(), st.sampled_from(BUFFERS), st.sampled_from(["silence", "repeat", "wsola", "codec", "fec", "pjmedia"]))
def test_the_same_trace_gives_the_same_bytes(trace: Trace, buffer: str, concealment: str) -> None:
    c = codec("g711u" if trace.payload_type[0] == 0 else "gsm")
    one, other = (hear(trace, c, buffer, concealment=concealment) for _ in range(2))
    assert one.audio.tobytes() == other.audio.tobytes()
    assert one.ledger.equals(other.ledger)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2**40), st.sampled_from(BUFFERS))
def test_where_the_numbers_begin_makes_no_difference(sequence: int, timestamp: int, buffer: str) -> None:
    c = codec("gsm")
    delay = np.random.default_rng(7).exponential(40.0, 60)
    # PJMEDIA rounds timestamps to frames, so the origin is a whole number of them.
    moved = trace_of(c, SPEECH, delay_ms=delay, first_sequence=sequence, first_timestamp=timestamp // 160 * 160)
    still = trace_of(c, SPEECH, delay_ms=delay, first_sequence=0, first_timestamp=0)
    assert np.array_equal(hear(moved, c, buffer).audio, hear(still, c, buffer).audio)
