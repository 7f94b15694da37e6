"""Where in the reference a stream begins whose packets were cut: by the kept bytes, by PJSIP's habit, or said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.arrays import Pcm
from earwitness.ear.hear import hear
from earwitness.ear.placing import COUNTED, OTHER, UNCONFIRMED, reference_offset
from earwitness.score.listening import listening_quality
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.model import Payloads, Trace
from testing.ear.traces import trace_of

SAID = speech("allison-10s").samples


def cut(spec: str, first: int, kept: int = 42, said: Pcm = SAID) -> Trace:
    trace = trace_of(codec(spec), said, first_timestamp=first)
    assert trace.payloads is not None
    return replace(trace, payloads=replace(trace.payloads, captured=np.minimum(trace.payloads.captured, kept)))


@pytest.mark.parametrize("first", [0, 50_000, 4_000_000_000])
@pytest.mark.parametrize("spec", ["g711u", "g711a"])
def test_the_kept_bytes_place_a_stream_whatever_its_first_timestamp(spec: str, first: int) -> None:
    heard = hear(cut(spec, first), codec(spec), "fixed:60", reference=SAID)
    whole = hear(trace_of(codec(spec), SAID, first_timestamp=first), codec(spec), "fixed:60")
    assert np.array_equal(heard.audio, whole.audio)
    assert (heard.remade, heard.notes) == (True, ())


@pytest.mark.parametrize(
    ("first", "said"), [(160, ""), (50_080, COUNTED), (50_559, UNCONFIRMED), (4_000_000_000, UNCONFIRMED)]
)
def test_what_nothing_confirms_is_said(first: int, said: str) -> None:
    of = codec("gsm")
    _, doubt = reference_offset(cut("gsm", first, 16), of, SAID, 160)
    assert doubt == said
    heard = hear(cut("gsm", first, 16), of, "fixed:60", reference=SAID)
    assert heard.notes == tuple(filter(None, (said,)))
    if said == UNCONFIRMED:
        assert listening_quality(SAID, heard.audio, 8000).mos_lqo > 3.4


def test_other_speech_than_the_reference_is_not_found_in_it() -> None:
    other = np.random.default_rng(2).integers(-3000, 3000, 80_000).astype(np.int16)
    assert reference_offset(cut("g711u", 4_000_000_000), codec("g711u"), other, 160)[1] == OTHER


@pytest.mark.parametrize(
    ("taps", "said"), [([0.7], ""), ([0.4, 0.5, 0.4], ""), ([0.1, 0.2, 0.4, 0.2, 0.1], "0.9"), ([1, -0.95], "changed")]
)
def test_kept_samples_of_a_changed_sound_place_a_stream(taps: list[float], said: str) -> None:
    """A phone that resamples, or sets its level, sends other bytes; baresip's timestamps begin below 65,536."""
    sent = np.convolve(SAID, taps, mode="same").astype(np.int16)
    offset, doubt = reference_offset(cut("g711u", 50_559, 31, sent), codec("g711u"), SAID, 160)
    assert said in doubt
    assert bool(said) == bool(doubt)
    assert abs(offset - 50_559) <= 1


def test_packets_without_any_bytes_are_placed_by_habit() -> None:
    trace = replace(
        cut("g711u", 320),
        payloads=Payloads(np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int32)).take(
            np.zeros(len(cut("g711u", 320)), dtype=np.int64)
        ),
    )
    assert reference_offset(trace, codec("g711u"), SAID, 160) == (160, "")
