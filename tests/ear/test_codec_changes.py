"""A sender that changes its codec in mid-call: each packet is decoded by its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear import Fate, hear
from earwitness.ear.stream_codecs import codecs_of, in_main_clock
from earwitness.replay.blame import blame
from earwitness.score.listening import listening_quality
from earwitness.speech.codecs.base import decode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Trace
from testing.ear.traces import MS, decoder_of, trace_at, voice

U, A, GSM = codec("g711u"), codec("g711a"), codec("gsm")
OPUS, WIDE = codec("opus:24000"), codec("opus:24000,rate=16000")


def halves(trace: Trace) -> tuple[list[bytes], list[bytes]]:
    """The payloads of the first and the second payload type."""
    assert trace.payloads is not None
    payloads = [trace.payloads[row] for row in range(len(trace))]
    first = np.flatnonzero(trace.payload_type == trace.payload_type[0])
    return payloads[: len(first)], payloads[len(first) :]


@pytest.mark.parametrize("buffer", ["fixed:60", "adaptive", "oracle:100", "pjmedia"])
@pytest.mark.parametrize("concealment", ["silence", "wsola", "codec"])
def test_both_codecs_are_heard_sample_for_sample(buffer: str, concealment: str) -> None:
    trace = trace_at(U, voice(1.8), (20,), changed=A)
    heard = hear(trace, U, buffer, concealment=concealment)
    mu, a = halves(trace)
    plain = np.concatenate((decode_packets(U, mu), decode_packets(A, a)))
    begin = int(np.flatnonzero(heard.played.frame == 0)[0]) * 80
    # Concealment before the first frame is joined to it.
    skip = 80 if buffer == "pjmedia" else 0
    assert np.array_equal(heard.audio[begin + skip : begin + len(plain)], plain[skip:])
    assert heard.codec == "g711u+g711a"
    assert heard.shares["played_ratio"] == 1.0
    assert heard.notes == ()


def test_the_codec_given_is_the_main_payload_types() -> None:
    said = np.concatenate((voice(1.0), voice(0.5)))
    trace = trace_at(A, said, (20,), changed=U)
    named = replace(trace, formats={8: Encoding("PCMA", 8000), 0: Encoding("PCMU", 8000)})
    # Mu-law bytes given as A-law sound otherwise; the other type is still read by its format.
    assert [one.name for one in codecs_of(named, A).codecs] == ["g711a", "g711u"]
    assert not np.array_equal(hear(named, U, "fixed:60").audio, hear(named, A, "fixed:60").audio)
    other = hear(named, U, "fixed:60")
    assert np.array_equal(other.audio[480:], decode_packets(U, [payload for half in halves(trace) for payload in half]))


def test_every_state_is_kept_while_another_codec_plays() -> None:
    """GSM, then mu-law, then GSM again: its decoder goes on where it stopped."""
    said = voice(3.0)
    one, other = trace_at(GSM, said, (20,)), trace_at(U, said, (20,))
    middle = (np.arange(len(one)) >= 50) & (np.arange(len(one)) < 100)
    assert one.payloads is not None
    assert other.payloads is not None
    payloads = [(other if middle[row] else one).payloads[row] for row in range(len(one))]  # type: ignore[index]
    mixed = replace(
        one,
        payload_type=np.where(middle, 0, 3).astype(np.uint8),
        size=np.array([len(payload) for payload in payloads], dtype=np.int32),
        payloads=type(one.payloads).of(payloads),
        formats={3: Encoding("GSM", 8000), 0: Encoding("PCMU", 8000)},
    )
    heard = hear(mixed, GSM, "fixed:60", concealment="silence")
    gsm = decode_packets(GSM, [*payloads[:50], *payloads[100:]])
    plain = np.concatenate((gsm[:8000], decode_packets(U, payloads[50:100]), gsm[8000:]))
    begin = int(np.flatnonzero(heard.played.frame == 0)[0]) * heard.played.frames.frame_samples
    assert np.array_equal(heard.audio[begin : begin + len(plain)], plain)
    assert heard.codec == "gsm+g711u"


def opus_then_a_law() -> Trace:
    """Opus (48,000 Hz) that goes on as A-law (8,000 Hz) under one SSRC."""
    wide = trace_at(WIDE, speech("allison-10s", 16000, seconds=8.0).samples, (20,))
    narrow = trace_at(A, speech("allison-10s", 8000, seconds=8.0).samples, (20,))
    n = len(wide)
    late = np.arange(n) >= 250
    assert wide.payloads is not None
    assert narrow.payloads is not None
    payloads = [narrow.payloads[row] if late[row] else wide.payloads[row] for row in range(n)]
    # RFC 7160 3.1: the steps after the change are in the new clock.
    step = np.where(late[1:], 160, 960)
    return replace(
        wide,
        timestamp=wide.timestamp[0] + np.concatenate(([0], np.cumsum(step))),
        payload_type=np.where(late, 8, WIDE.payload_type).astype(np.uint8),
        size=np.array([len(payload) for payload in payloads], dtype=np.int32),
        payloads=type(wide.payloads).of(payloads),
        formats={WIDE.payload_type: Encoding("opus", 48000, 2), 8: Encoding("PCMA", 8000)},
    )


def test_another_clock_and_another_rate_join_without_a_gap() -> None:
    """Opus (48,000 Hz) goes on as A-law (8,000 Hz) under one SSRC; the audio keeps the higher rate."""
    said = speech("allison-10s", 16000, seconds=8.0).samples
    mixed = opus_then_a_law()
    heard = hear(mixed, WIDE, "fixed:60")
    assert heard.codec == "opus+g711a"
    assert heard.sample_rate == 16000
    assert heard.shares["played_ratio"] == 1.0
    assert heard.shares["pause_ratio"] < 0.01
    assert heard.notes == ()
    assert len(set(np.diff(heard.trace.timestamp).tolist())) == 1
    # Hearing it again does not convert twice.
    assert in_main_clock(heard.trace, WIDE) is heard.trace
    assert heard.frame_delay_ms[:20] == pytest.approx(20 + 30 + 60 + 6.5)
    assert heard.frame_delay_ms[-20:] == pytest.approx(20 + 30 + 60)
    assert listening_quality(said, heard.audio, 16000).pesq.mos_lqo > 3.9
    assert blame(heard, WIDE, said).whole < 0.65


def test_hearing_two_rates_again_gives_the_same_sound() -> None:
    """Between losses the runs of one codec are short, and are converted one by one."""
    mixed = opus_then_a_law()
    arrived = mixed.arrived_ns.copy()
    arrived[260:400:3] = np.iinfo(np.int64).min
    lossy = mixed.with_arrivals(arrived)
    once, *again = (hear(lossy, WIDE, "fixed:60").audio for _ in range(4))
    assert all(np.array_equal(once, other) for other in again)


def test_what_cannot_be_heard_is_counted_and_told() -> None:
    trace = trace_at(U, voice(2.0), (20,))
    kinds = trace.payload_type.copy()
    kinds[80:], kinds[60:70], kinds[50:55], kinds[40:43] = 18, 111, 101, 99
    formats = {0: Encoding("PCMU", 8000), 18: Encoding("nonesuch", 8000), 101: Encoding("telephone-event", 8000)}
    formats[99] = Encoding("opus", 44100, 2)
    heard = hear(replace(trace, payload_type=kinds, formats=formats), U, "fixed:60")
    told = "; ".join(heard.notes)
    assert "20 packets of payload type 18 (nonesuch) are not heard" in told
    assert "10 packets of payload type 111 (unknown) are not heard" in told
    assert "3 packets of payload type 99 (opus) are not heard" in told
    assert "101" not in told
    assert heard.codec == "g711u"


def test_a_trace_made_by_hand_has_one_codec() -> None:
    trace = trace_at(U, voice(1.0), (20,), changed=A)
    bare = replace(trace, formats={}, payload_type=np.where(np.arange(50) < 30, 0, 8).astype(np.uint8))
    heard = hear(bare, U, "fixed:60")
    assert heard.codec == "g711u"
    assert len(heard.played.frames) == 60


def test_a_codec_with_two_numbers_is_one() -> None:
    trace = trace_at(OPUS, voice(1.0), (20,))
    kinds = np.where(np.arange(len(trace)) < 20, 111, 112).astype(np.uint8)
    formats = {111: Encoding("opus", 48000, 2), 112: Encoding("OPUS", 48000, 2)}
    heard = hear(replace(trace, payload_type=kinds, formats=formats), OPUS, "fixed:60")
    assert heard.codec == "opus:24000"
    assert np.array_equal(heard.audio, hear(trace, OPUS, "fixed:60").audio)


@pytest.mark.parametrize("lost", [range(50, 60), range(58, 63)])
def test_loss_around_the_change_is_concealed(lost: range) -> None:
    trace = trace_at(OPUS, voice(2.0), (20,))
    narrow = trace_at(A, voice(2.0), (20,))
    assert trace.payloads is not None
    assert narrow.payloads is not None
    payloads = [(narrow if row >= 60 else trace).payloads[row] for row in range(100)]  # type: ignore[index]
    mixed = replace(
        trace,
        timestamp=trace.timestamp[0] + np.concatenate(([0], np.cumsum(np.where(np.arange(1, 100) >= 60, 160, 960)))),
        payload_type=np.where(np.arange(100) >= 60, 8, 120).astype(np.uint8),
        size=np.array([len(payload) for payload in payloads], dtype=np.int32),
        payloads=type(trace.payloads).of(payloads),
        formats={120: Encoding("opus", 48000, 2), 8: Encoding("PCMA", 8000)},
    )
    arrived = mixed.arrived_ns.copy()
    arrived[list(lost)] = np.iinfo(np.int64).min
    for way in ("codec", "fec", "wsola", "pjmedia"):
        heard = hear(mixed.with_arrivals(arrived), OPUS, "fixed:60", concealment=way)
        assert heard.shares["lost_ratio"] == pytest.approx(len(lost) / 100)
        gap = heard.account.pulls_from(Fate.CONCEALED)
        assert gap * heard.played.frames.stream.frame_ns == len(lost) * 20 * MS
        assert np.abs(heard.audio).max() < 32768


def test_what_is_left_of_a_concealed_frame_is_no_comfort_noise() -> None:
    """A slot of 10 ms, for mu-law's sake, takes half of what Speex makes of a missing frame."""
    speex = codec("speex")
    trace = trace_at(speex, voice(1.0), (20,), changed=U).take(np.arange(45))
    assert trace.payloads is not None
    size = np.where(trace.payload_type == 0, 80, trace.size).astype(np.int32)
    decoder = decoder_of(replace(trace, size=size, payloads=replace(trace.payloads, captured=size)), speex)
    assert decoder.frame_samples == 80
    decoder.decode_many([0, 1])
    assert decoder.conceal() is not None
    assert decoder.comfort() is None
    assert decoder.conceal() is not None
