"""The E-model over what a buffer made of a stream: what it counts, and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earwitness.ear import hear
from earwitness.score.emodel import e_model
from earwitness.score.played import estimate_played, rate_played
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import Payloads
from testing.ear.traces import trace_of, voice

G711, GSM = codec("g711u"), codec("gsm")
LOST = tuple(range(20, 190, 20))


def test_the_concealment_that_was_used_counts() -> None:
    trace = trace_of(G711, voice(4.0), lost=LOST)
    rated = {way: estimate_played(hear(trace, G711, "fixed:60", concealment=way), G711) for way in ("silence", "wsola")}
    share = rated["silence"].metrics.loss_rate
    assert share == len(LOST) / 200
    for way, found in rated.items():
        expected = e_model("g711u", loss_ratio=share, mouth_to_ear_ms=0.0, concealed=way != "silence")
        assert found.mos_lqe == expected.mos_cqe
    assert (rated["silence"].mos_lqe or 0) < (rated["wsola"].mos_lqe or 0) - 1


def test_discarded_packets_count_as_lost() -> None:
    late = np.full(200, 30.0)
    late[100:130] += np.arange(30)[::-1] * 20.0
    heard = hear(trace_of(G711, voice(4.0), delay_ms=late), G711, "pjmedia")
    rated = rate_played(heard, G711)
    missed = rated.metrics.loss_rate + rated.metrics.discard_rate
    assert heard.shares["discarded_ratio"] + heard.shares["late_ratio"] > 0.02
    assert abs(missed - heard.shares["discarded_ratio"] - heard.shares["late_ratio"]) < 0.01


def test_frames_that_the_decoder_refuses_are_told_and_not_the_buffers() -> None:
    trace = trace_of(GSM, voice(4.0))
    assert trace.payloads is not None
    damaged = [b"\x13" * 33 if 50 <= row < 90 else trace.payloads[row] for row in range(len(trace))]
    heard = hear(replace(trace, payloads=Payloads.of(damaged)), GSM, "fixed:60")
    assert len(heard.malformed) == 40
    assert any("the decoder refused 40 of 200 frames" in note for note in heard.notes)
    rated = estimate_played(heard, GSM)
    assert rated.metrics.discard_rate == 0
    assert "the decoder refused" in rated.doubt


def test_losses_more_regular_than_random_are_rated_as_random() -> None:
    heard = hear(trace_of(G711, voice(4.0), lost=range(2, 200, 4)), G711, "fixed:60")
    rated = estimate_played(heard, G711)
    assert rated.burst_ratio < 1
    share = rated.metrics.loss_rate
    assert rated.mos_lqe == e_model("g711u", loss_ratio=share, mouth_to_ear_ms=0.0).mos_cqe


def test_a_codec_without_factors_is_rated_as_g711_and_only_where_that_is_said() -> None:
    of = codec("codec2")
    heard = hear(trace_of(of, voice(2.0)), of, "fixed:60")
    assert rate_played(heard, of).mos_cqe is None
    assert "rated as G.711" in estimate_played(heard, of).doubt


def test_packets_that_came_while_the_phone_did_not_play_are_in_no_rate() -> None:
    trace = trace_of(G711, voice(4.0), lost=LOST)
    ticks = int(trace.arrived_ns[0]) + 20_000_000 * np.arange(100)
    heard = hear(trace, G711, "pjmedia", clock_ns=ticks)
    assert 90 < int(heard.played.outside.sum()) < 110
    rated = estimate_played(heard, G711)
    assert rated.metrics.packets == len(trace) - int(heard.played.outside.sum()) - sum(row >= 100 for row in LOST)
    assert rated.metrics.loss_rate * rated.metrics.packets == sum(row < 100 for row in LOST)
    assert rated.metrics.discard_rate < 0.05
