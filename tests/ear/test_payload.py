"""Packets that are cut, or of which fragments are missing: what is heard of them, and why they are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from earwitness.ear.frames import frames_of
from earwitness.ear.listen import listen_to_capture
from earwitness.ear.payload import frame_bytes
from earwitness.errors import InputError
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from testing.ear.fragmented import captured_to, fragmented_call
from testing.ear.traces import trace_of, voice

G711 = codec("g711u")
COUNT = 465


@pytest.mark.parametrize("with_reference", [True, False])
def test_lost_fragments_are_concealed_and_the_rest_is_heard_as_captured(with_reference: bool) -> None:
    capture = fragmented_call(lambda packet, at: at == 0 or packet % 26 != 13, COUNT)
    reference = speech("allison-10s", 8000).samples if with_reference else None
    (heard,) = listen_to_capture(capture, ["fixed:60"], reference=reference)
    assert not heard.remade
    lost = len(range(13, COUNT, 26))
    assert heard.figures()["lost_ratio"] == pytest.approx(lost / COUNT)
    assert heard.figures()["concealed_ratio"] == pytest.approx(lost / COUNT)
    assert any(note.startswith(f"{lost} packets count as not received") for note in heard.trace.notes)


def test_a_capture_without_later_fragments_is_refused_for_that_reason() -> None:
    capture = fragmented_call(lambda _, at: at == 0, COUNT)
    said = "the lack of their later fragments cut its packets to 84 of 160 payload bytes"
    with pytest.raises(InputError, match=said):
        listen_to_capture(capture, ["fixed:60"])
    (heard,) = listen_to_capture(capture, ["fixed:60"], reference=speech("allison-10s", 8000).samples)
    assert heard.remade
    assert heard.figures()["lost_ratio"] == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (slice(None), "a snap length cut its packets to 40 of 160 payload bytes"),
        (slice(3, 5), "a snap length cut 2 of its 100 packets to 40 of 160 payload bytes"),
    ],
)
def test_a_refusal_counts_the_packets_that_are_cut(rows: slice, said: str) -> None:
    trace = captured_to(trace_of(G711, voice(2.0)), rows, 40)
    with pytest.raises(InputError, match=re.escape(said)):
        frame_bytes(trace, frames_of(trace, G711))
    remade = frame_bytes(trace, frames_of(trace, G711), np.zeros(8000, dtype=np.int16))
    assert len(remade(0)) > 0
