"""Where in what was heard the reference is."""

from __future__ import annotations

import numpy as np
import pytest

from earwitness.score.find import around_reference, find_reference
from earwitness.speech.reference import DEFAULT_SPEECH, speech

RATE = 8000
SAID = speech(DEFAULT_SPEECH, RATE, 8.0).samples


@pytest.mark.parametrize("wait_s", [0.0, 0.3, 3.0, 20.0])
def test_it_is_found_after_any_wait_in_noise(wait_s: float) -> None:
    noise = np.random.default_rng(1).normal(0, 60, round((wait_s + 12) * RATE))
    begin = round(wait_s * RATE)
    noise[begin : begin + len(SAID)] += SAID * 0.5
    assert find_reference(SAID, noise.astype(np.int16), RATE) == pytest.approx(begin, abs=RATE * 0.016)


def test_a_cut_beginning_is_before_the_sound() -> None:
    assert find_reference(SAID, SAID[2 * RATE :], RATE) == pytest.approx(-2 * RATE, abs=RATE * 0.016)


def test_a_scorer_gets_it_with_half_a_second_around() -> None:
    heard = np.concatenate([np.zeros(5 * RATE, np.int16), SAID, np.zeros(9 * RATE, np.int16)])
    part, at = around_reference(SAID, heard, RATE)
    assert at == pytest.approx(5 * RATE, abs=RATE * 0.016)
    assert len(part) == pytest.approx(len(SAID) + RATE, abs=8)
    assert len(around_reference(SAID, SAID[:0], RATE)[0]) == 0
