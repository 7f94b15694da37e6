"""The verdict: the word follows from the numbers, the sentence names the main cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.score.verdict import WORDS, verdict


@pytest.mark.parametrize(
    ("mos", "delay", "word"),
    [
        (4.4, 80, "good"),
        (3.6, 150, "good"),
        (3.59, 80, "acceptable"),
        (4.4, 300, "acceptable"),
        (3.0, 400, "acceptable"),
        (2.99, 80, "poor"),
        (4.4, 700, "poor"),
        (1.9, 80, "bad"),
        (4.4, 1500, "bad"),
    ],
)
def test_words(mos: float, delay: float, word: str) -> None:
    assert verdict(mos_lqo=mos, mouth_to_ear_ms=delay).word == word


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"mos_lqo": 4.4, "mouth_to_ear_ms": 90}, "clear"),
        ({"mos_lqo": 4.4, "mouth_to_ear_ms": 600}, "talk over each other"),
        ({"mos_lqo": 3.5, "codec_ceiling_mos": 3.6, "loss_ratio": 0.01}, "codec alone reaches only 3.60"),
        (
            {"mos_lqo": 2.1, "codec_ceiling_mos": 4.4, "loss_ratio": 0.08, "late_ratio": 0.01},
            "8.0 % of the packets were lost",
        ),
        (
            {"mos_lqo": 2.1, "codec_ceiling_mos": 4.4, "loss_ratio": 0.01, "late_ratio": 0.2},
            "20.0 % of the packets came too late",
        ),
        (
            {"mos_lqo": 2.1, "codec_ceiling_mos": 4.4, "loss_ratio": 0.0, "late_ratio": 0.0, "concealed_ratio": 0.1},
            "concealment",
        ),
        (
            {"mos_lqo": 2.8, "codec_ceiling_mos": 4.4, "loss_ratio": 0.0, "late_ratio": 0.0, "jitter_p95_ms": 40},
            "jitter 40 ms",
        ),
        ({"mos_lqo": 2.8, "codec_ceiling_mos": 4.4, "loss_ratio": 0.0, "late_ratio": 0.0}, "look at the phones"),
        ({"mos_lqo": 2.0, "mouth_to_ear_ms": 900, "loss_ratio": 0.1}, "and it is heard 900 ms after"),
        ({"mos_lqo": None}, "Nothing was heard"),
        ({"mos_lqo": None, "mos_cqe": 4.0}, "estimated MOS 4.00"),
    ],
)
def test_the_reason_names_the_main_cause(numbers: dict[str, float], named: str) -> None:
    reason = verdict(**numbers).reason
    assert named in reason
    assert reason.endswith(".")
    assert "\n" not in reason


maybe = st.none() | st.floats(0, 1)


@given(
    st.none() | st.floats(1, 4.6), st.none() | st.floats(0, 5000), maybe, maybe, maybe, st.none() | st.floats(1, 4.6)
)
def test_worse_numbers_never_give_a_better_word(
    mos: float | None,
    delay: float | None,
    loss: float | None,
    late: float | None,
    concealed: float | None,
    ceiling: float | None,
) -> None:
    here = verdict(
        mos_lqo=mos, mouth_to_ear_ms=delay, loss_ratio=loss, late_ratio=late, concealed_ratio=concealed,
        codec_ceiling_mos=ceiling,
    )  # fmt: skip
    if mos is None:
        assert here.word == "failed"
        return
    worse = verdict(mos_lqo=max(1.0, mos - 0.5), mouth_to_ear_ms=None if delay is None else delay + 100)
    assert WORDS.index(worse.word) >= WORDS.index(here.word)
