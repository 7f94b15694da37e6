"""Statistics of many calls, against definitions and against what resampling must do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earwitness.analysis.statistics import cluster_bootstrap, correlate, ecdf, known, quartiles, within_iqr

values = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6, allow_nan=False))


def test_quartiles_leave_out_what_was_not_measured() -> None:
    assert quartiles([1.0, 2.0, np.nan, 3.0]) == (1.5, 2.0, 2.5)
    assert all(np.isnan(quartiles([np.nan])))


def test_the_cut_is_tukeys_fence() -> None:
    data = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 11.0, 11.01, np.nan])
    low, _, high = quartiles(data[:-1])
    inside = within_iqr(data, 3.0)
    assert inside.tolist() == [bool(low - 3 * (high - low) <= x <= high + 3 * (high - low)) for x in data]
    assert not inside[-1]


@given(values)
def test_an_ecdf_rises_from_the_least_value_to_one(data: np.ndarray) -> None:
    x, share = ecdf(data)
    assert (np.diff(x) >= 0).all()
    assert share[-1] == 1.0
    assert len(x) == len(known(data))


def test_correlations_see_monotone_but_not_linear() -> None:
    x = np.arange(1.0, 30.0)
    found = correlate(x, np.exp(x))
    assert found.spearman == pytest.approx(1.0)
    assert found.kendall == pytest.approx(1.0)
    assert found.pearson < 0.7
    assert np.isnan(correlate(x, np.ones_like(x)).spearman)
    assert correlate([1, 2, np.nan, 4], [1, np.nan, 3, 4]).n == 2


def test_a_bootstrap_over_places_is_wider_than_over_calls_and_repeatable() -> None:
    generator = np.random.default_rng(3)
    places = np.repeat(np.arange(8), 50)
    data = generator.normal(0, 1, 8)[places] + generator.normal(0, 0.1, 400)
    by_place = cluster_bootstrap(np.mean, [data], places, resamples=400, seed=5)
    by_call = cluster_bootstrap(np.mean, [data], np.arange(400), resamples=400, seed=5)
    assert by_place.high - by_place.low > 4 * (by_call.high - by_call.low)
    assert by_place.low < data.mean() < by_place.high
    assert by_place == cluster_bootstrap(np.mean, [data], places, resamples=400, seed=5)
    assert by_place.clusters == 8


def test_the_interval_covers_what_it_says() -> None:
    covered = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        effect = generator.normal(0, 1, 20)
        places = np.repeat(np.arange(20), 10)
        data = effect[places] + generator.normal(0, 0.5, 200)
        found = cluster_bootstrap(np.mean, [data], places, resamples=200, seed=seed)
        covered += found.low <= 0.0 <= found.high
    assert covered >= 50  # 95 % of 60 is 57; fewer than 50 would be a fault, not chance


def test_one_place_tells_nothing_of_others() -> None:
    assert np.isnan(cluster_bootstrap(np.mean, [[1.0, 2.0]], ["a", "a"]).low)
