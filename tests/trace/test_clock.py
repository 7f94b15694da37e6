"""Two clocks: what is estimated lies within what is promised."""

from __future__ import annotations

import numpy as np
import pytest

from earwitness.errors import InputError
from earwitness.trace.clock import estimate_clock, on_one_clock
from earwitness.trace.model import LOST
from testing.trace.clocks import QUEUES, reached, trial
from testing.trace.making import trace


@pytest.mark.parametrize("name", QUEUES)
def test_delays_are_within_the_bound_and_the_bound_is_small(name: str) -> None:
    trials = [trial(seed, QUEUES[name]) for seed in range(40)]
    assert all(each.worst_error_ms <= each.estimate.bound_ms for each in trials)
    assert max(each.estimate.bound_ms for each in trials) < 5.0
    assert np.median([abs(each.estimate.skew_ppm - 50) for each in trials]) < 2.0


def test_the_bound_grows_where_the_least_delay_is_hardly_reached() -> None:
    def far(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.gamma(2.0, 20.0, n)

    trials = [trial(seed, (far, far)) for seed in range(40)]
    assert all(each.worst_error_ms <= each.estimate.bound_ms for each in trials)
    assert np.median([each.estimate.bound_ms for each in trials]) > 1.0


def test_minima_at_opposite_ends_of_the_call_do_not_fool_the_bound() -> None:
    """One queue grows and the other shrinks: it looks like skew, and only the bound can say that it may not be."""

    def early(rng: np.random.Generator, n: int) -> np.ndarray:
        queue = rng.exponential(3, n) + np.arange(n) * 0.02
        queue[rng.choice(n // 5, 20, replace=False)] = 0
        return queue

    trials = [trial(seed, (early, lambda r, n: early(r, n)[::-1])) for seed in range(20)]
    assert all(each.worst_error_ms <= each.estimate.bound_ms for each in trials)


def test_unequal_least_delays_are_within_the_limit_that_is_named_for_them() -> None:
    found = trial(1, (lambda r, n: reached(r, n, 5), lambda r, n: reached(r, n, 5)), base_ms=(20.0, 80.0))
    assert found.worst_error_ms == pytest.approx(30.0, abs=0.2)
    assert found.worst_error_ms > found.estimate.bound_ms
    assert found.worst_error_ms <= found.estimate.error_ms
    assert found.estimate.asymmetry_limit_ms == pytest.approx(50.0, abs=0.2)


def test_where_nothing_tells_the_skew_none_is_assumed() -> None:
    def never(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.gamma(4.0, 40.0, n)

    found = trial(3, (never, never), packets=300, skew_ppm=0.0)
    assert found.estimate.skew_ppm == 0.0
    assert found.worst_error_ms <= found.estimate.bound_ms


def test_an_hour_of_skew_is_found_to_a_fraction_of_a_ppm() -> None:
    found = trial(4, (lambda r, n: reached(r, n, 5, 200), lambda r, n: reached(r, n, 5, 200)), packets=180_000)
    assert found.estimate.skew_ppm == pytest.approx(50.0, abs=0.1)
    assert found.worst_error_ms <= found.estimate.bound_ms


def test_lost_packets_stay_lost_and_the_note_states_the_bound() -> None:
    sent = np.arange(100, dtype=np.int64) * 20_000_000
    out = trace(sent, sent + 60_000_000, sent_clock="a", arrived_clock="b")
    out = out.with_arrivals(np.where(np.arange(100) % 10 == 0, LOST, out.arrived_ns))
    back = trace(sent, sent + 40_000_000, sent_clock="b", arrived_clock="a")
    estimate = estimate_clock(out, back)
    moved = on_one_clock(out, estimate)
    assert moved.one_clock
    assert (moved.arrived_ns == LOST).sum() == 10
    assert "if the path is symmetric" in moved.notes[-1]
    assert estimate.rtt_min_ms == pytest.approx(100.0)
    with pytest.raises(ValueError, match="not those"):
        on_one_clock(moved, estimate)


def test_what_cannot_be_estimated_says_why() -> None:
    sent = np.arange(100, dtype=np.int64) * 20_000_000
    out = trace(sent, sent + 1, sent_clock="a", arrived_clock="b")
    with pytest.raises(InputError, match="do not match"):
        estimate_clock(out, out)
    back = trace(sent[:2], sent[:2] + 1, sent_clock="b", arrived_clock="a")
    with pytest.raises(InputError, match="only 2 packets"):
        estimate_clock(out, back)
