"""The E-model against G.107's and others' published values, and its laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.score.emodel import Planning, e_model, mos_cqe_of_r, r_of_mos
from earwitness.score.impairments import impairment

CODECS = ["g711u", "g711a", "gsm", "speex", "opus", "opus:24000,fec=1", "g729", "amr"]


def test_defaults_give_the_rating_of_g107() -> None:
    found = e_model("g711u", loss_ratio=0.0, mouth_to_ear_ms=0.0)
    assert round(found.r, 1) == 93.2
    assert found.mos_cqe == pytest.approx(4.41, abs=0.005)
    assert found.ro == pytest.approx(94.77, abs=0.005)
    assert found.simultaneous == pytest.approx(1.41, abs=0.005)


@pytest.mark.parametrize(
    ("r", "mos"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1.0), (120, 4.5)]
)
def test_ratings_as_scores_g107_table_b1(r: float, mos: float) -> None:
    # The table prints 4.03 for R 80, where its own equation gives 4.024.
    assert mos_cqe_of_r(r) == pytest.approx(mos, abs=0.0065)


@pytest.mark.parametrize(("ie", "bound_ms"), [(0, 400), (5, 342), (7, 322), (10, 294), (15, 251), (19, 219)])
def test_delay_at_which_an_echo_free_call_falls_to_70(ie: float, bound_ms: float) -> None:
    """Published bounds for codecs of that Ie with perfect echo control (Janssen et al., intrinsic R of 94)."""
    no_echo = Planning(talker_echo_loudness_rating=1000.0)
    found = e_model("g711u", loss_ratio=0.0, mouth_to_ear_ms=bound_ms, planning=no_echo)
    assert found.r - ie == pytest.approx(70.0, abs=1.2)


def test_loss_costs_what_g107_equation_7_29_says() -> None:
    for percent in (1.0, 5.0, 20.0):
        bare = e_model("g711u", loss_ratio=percent / 100, mouth_to_ear_ms=0, concealed=False)
        assert bare.equipment == pytest.approx(95 * percent / (percent + 4.3))
    bursty = e_model("gsm", loss_ratio=0.05, mouth_to_ear_ms=0, burst_ratio=2.0)
    assert bursty.equipment == pytest.approx(20 + 75 * 5 / (2.5 + impairment("gsm").bpl))


@given(st.sampled_from(CODECS), st.floats(0, 0.5), st.floats(0, 2000), st.floats(0.001, 0.2), st.floats(1, 500))
def test_more_loss_or_more_delay_never_helps(codec: str, loss: float, delay: float, more: float, later: float) -> None:
    here = e_model(codec, loss_ratio=loss, mouth_to_ear_ms=delay)
    assert e_model(codec, loss_ratio=loss + more, mouth_to_ear_ms=delay).r < here.r
    assert e_model(codec, loss_ratio=loss, mouth_to_ear_ms=delay + later).r <= here.r + 0.2  # G.107's echo terms
    # themselves rise by that little within the first milliseconds.
    assert 1.0 <= here.mos_cqe <= 4.5


@given(st.floats(7, 99))
def test_score_and_rating_invert_each_other(r: float) -> None:
    assert r_of_mos(mos_cqe_of_r(r)) == pytest.approx(r, abs=1e-6)


def test_every_codec_states_where_its_factors_come_from() -> None:
    for name in CODECS:
        assert "G.113" in impairment(name).source or "not an ITU value" in impairment(name).source
    with pytest.raises(InputError, match="g711u, g711a"):
        e_model("g722", loss_ratio=0, mouth_to_ear_ms=0)
    with pytest.raises(ValueError, match="out of range"):
        e_model("gsm", loss_ratio=1.5, mouth_to_ear_ms=0)
