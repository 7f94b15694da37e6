from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.report.align import reference_at_s
from earwitness.report.plot import UNITS, Axis, bars, dots, envelope, line, thin
from earwitness.report.words import codec_label, number_text, percent_text
from earwitness.speech.reference import speech


def _spans(path: str) -> list[tuple[int, int]]:
    return [(int(x), int(x) + int(wide)) for x, wide in re.findall(r"M(-?\d+) 0h(\d+)v", path)]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 12))
def test_ticks_are_few_round_and_inside(low: float, width: float, about: int) -> None:
    axis = Axis(low, low + width)
    ticks = axis.ticks(about)
    assert len(ticks) <= about + 2
    assert all(axis.low - width * 1e-3 <= tick <= axis.high + width * 1e-3 for tick in ticks)


def test_a_line_is_broken_where_nothing_is_known() -> None:
    axis = Axis(0, 4)
    path = line(np.arange(5.0), np.array([0.0, 4, np.nan, 0, 4]), axis, axis, 10)
    assert path == f"M0 100l{UNITS // 4}-100M{UNITS * 3 // 4} 100l{UNITS // 4}-100"


def test_equal_dots_are_drawn_once() -> None:
    axis = Axis(0, 1)
    assert dots(np.array([0.5, 0.5, 1.0]), np.array([0.0, 0.0, 1.0]), axis, axis, 10).count("M") == 2


def test_bars_join_where_they_touch_and_stay_visible() -> None:
    path = bars(np.array([0.10, 0.12, 0.50]), np.array([0.12, 0.14, 0.5001]), Axis(0, 1), 10)
    assert _spans(path) == [(UNITS // 10, int(UNITS * 0.14)), (UNITS // 2, UNITS // 2 + 6)]


@given(st.lists(st.floats(0, 1), max_size=50))
def test_bars_cover_every_span_and_never_overlap(begins: list[float]) -> None:
    spans = _spans(bars(np.array(begins), np.array(begins) + 0.02, Axis(0, 1), 10))
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    for begin in begins:
        assert any(a <= round(begin * UNITS) <= b for a, b in spans)


def test_the_envelope_shows_where_the_sound_is() -> None:
    sound = np.zeros(8000, dtype=np.int16)
    sound[4000:4400] = 12000
    path = envelope(0.0, sound, 8000, Axis(0, 1), 50)
    x = y = 0
    highest = []
    for command, dx, dy in re.findall(r"([Ml])(-?\d+) ?(-?\d+)", path):
        x, y = (int(dx), int(dy)) if command == "M" else (x + int(dx), y + int(dy))
        if y < 100:
            highest.append(x / UNITS)
    assert 0.495 < min(highest) < max(highest) < 0.556
    assert envelope(5.0, sound, 8000, Axis(0, 1), 50) == ""


@given(st.integers(1, 20_000), st.integers(0, 2**32 - 1))
def test_thinning_keeps_the_extremes(n: int, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=n)
    x, kept = thin(np.arange(n, dtype=np.float64), y, 400)
    assert len(kept) <= min(n, 400)
    assert kept.min() == y.min()
    assert kept.max() == y.max()
    assert np.all(np.diff(x) > 0)


@pytest.mark.parametrize("shift_s", [-0.4, 0.0, 0.137, 1.9])
def test_alignment_finds_the_reference_in_what_was_heard(shift_s: float) -> None:
    said = speech("allison-10s").samples
    shift = round(shift_s * 8000)
    heard = np.concatenate([np.zeros(shift, np.int16), said]) if shift >= 0 else said[-shift:]
    heard = heard.copy()
    heard[20_000:21_600] = 0  # a gap
    assert reference_at_s(said, 8000, heard, 8000) == pytest.approx(shift_s, abs=0.002)
    wide = speech("allison-10s", 16000).samples
    assert reference_at_s(said, 8000, wide, 16000) == pytest.approx(0.0, abs=0.002)


def test_alignment_of_silence_is_zero() -> None:
    assert reference_at_s(np.zeros(8000, np.int16), 8000, np.zeros(0, np.int16), 8000) == 0.0


def test_numbers_for_people() -> None:
    assert number_text(None) == "–"
    assert number_text(float("nan")) == "–"
    assert number_text(12345.6) == "12\u202f346"
    assert number_text(-0.04, 1) == "0.0"
    assert number_text(-3.2, 1) == "−3.2"
    assert percent_text(0.0) == "0.0 %"
    assert percent_text(0.0001) == "<0.1 %"
    assert percent_text(0.123) == "12 %"
    assert codec_label("opus:24000,fec=1,loss=10") == "Opus 24 kbit/s fec=1,loss=10"
    assert codec_label("g711u") == "G.711 μ-law"
