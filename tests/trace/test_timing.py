"""Jitter, gaps, bursts, loss and delay: a known path in, the same path out."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.trace import bursts, delay, gaps, jitter, loss
from earwitness.trace.capture import parse_capture
from earwitness.trace.model import LOST, Trace
from earwitness.trace.pair import pair
from earwitness.trace.rtp_stream import StreamOptions
from earwitness.trace.series import arrivals, mean_and_deviation, quantiles, runs
from earwitness.trace.timeline import usual_step
from earwitness.trace.timing import summarise
from testing.trace import numbering
from testing.trace.making import Datagram, pcap, rtp_stream, trace

PORTS = StreamOptions(ports={4000})


def received(datagrams: list[Datagram]) -> Trace:
    return parse_capture(pcap(datagrams), options=PORTS).streams[0].trace


def made(pattern: str, **options: Any) -> Trace:
    return received(rtp_stream(pattern, **options))


def times(*arrived_ms: float) -> Trace:
    """Packets sent 20 ms apart that arrived at these times, ms."""
    sent = np.arange(len(arrived_ms), dtype=np.int64) * 20_000_000
    return trace(sent, np.array([round(t * 1e6) for t in arrived_ms], dtype=np.int64))


def test_jitter_follows_the_recursion_of_rfc_3550_by_hand() -> None:
    assert jitter.jitter_ms(times(0, 20, 56, 60)).tolist() == pytest.approx([0.0, 0.0, 1.0, 1.0 + (16 - 1) / 16])


def test_a_constant_change_of_transit_is_what_the_estimate_converges_to() -> None:
    late = made("." * 400, delay_ms=lambda i: 10.0 * (i % 2))
    assert jitter.jitter_ms(late)[-1] == pytest.approx(10.0, abs=1e-6)
    assert summarise(late).jitter_final_units == pytest.approx(80, abs=1)


def test_pauses_of_silence_suppression_are_no_jitter() -> None:
    assert jitter.jitter_ms(made("....____....___.....")).max() < 1e-9


@given(st.lists(st.integers(0, 10**8), min_size=2, max_size=60))
@settings(deadline=None)
def test_integer_jitter_is_the_listing_of_rfc_3550_a_8(arrivals: list[int]) -> None:
    made_of = trace(np.arange(len(arrivals), dtype=np.int64) * 20_000_000, np.array(sorted(arrivals), dtype=np.int64))
    state, last, expected = 0, None, []
    for arrived, timestamp in zip(made_of.arrived_ns.tolist(), made_of.timestamp.tolist(), strict=True):
        transit = (arrived - int(made_of.arrived_ns[0])) * 8000 // 10**9 - timestamp
        if last is not None:
            d = abs(transit - last)
            state += d - ((state + 8) >> 4)
        last = transit
        expected.append(state >> 4)
    assert jitter.jitter_units(made_of).tolist() == expected


def test_published_statistics_are_of_the_series_with_three_decimals() -> None:
    delays = np.random.default_rng(5).exponential(7.0, 500)
    heard = made("." * 500, delay_ms=lambda i: delays[i] + 200)
    series = np.round(jitter.jitter_ms(heard), 3)
    found = jitter.as_published(heard)
    assert found.mean_ms == pytest.approx(series.mean(), abs=1e-12)
    assert found.median_ms == np.median(series)
    assert found.std_dev_ms == pytest.approx(series.std(ddof=1), abs=1e-12)
    assert found.iqr_ms == pytest.approx(np.subtract(*np.percentile(series, [75, 25])), abs=1e-12)
    assert (found.max_ms, found.range_ms) == (series.max(), series.max() - series.min())
    assert series[0] == 0.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantiles(np.array(values), share)[0] == pytest.approx(float(np.quantile(values, share)), abs=1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=3000))
def test_mean_and_deviation_are_numpys(values: list[float]) -> None:
    series = np.array(values)
    assert mean_and_deviation(series) == (float(series.mean()), float(series.std(ddof=1)))


def test_gaps_with_and_without_pauses() -> None:
    heard = made("..____..x..", delay_ms=lambda i: 30.0 if i == 6 else 0.0)
    assert gaps.gaps_ms(heard).tolist() == pytest.approx([20, 100, 20, 40, 50])
    assert gaps.pauses_ms(heard).tolist() == pytest.approx([0, 80, 0, 0, 0])
    assert gaps.gaps_without_pauses_ms(heard).tolist() == pytest.approx([20, 20, 20, 40, 50])
    assert gaps.excess_gaps_ms(heard).tolist() == pytest.approx([20, 20, 20, 20, 50])


def test_a_pause_is_a_spike_only_as_published() -> None:
    found = summarise(made("....__________....", delay_ms=lambda i: 200.0 if i >= 6 else 0.0))
    assert (found.spikes_with_pauses, found.spikes_without_pauses) == (2, 1)
    assert found.talkspurts == 2
    assert found.pauses_total_s == pytest.approx(0.2)
    assert found.gap_max_with_pauses_ms == pytest.approx(220)
    assert found.gap_max_ms == pytest.approx(220)


def test_reordered_packets_and_duplicates_are_no_gaps() -> None:
    assert gaps.excess_gaps_ms(made("..l....d...")).max() == pytest.approx(20)


def test_bursts_are_split_at_more_than_three_ms() -> None:
    found = bursts.bursts(times(0, 80, 80.5, 83.5, 160, 160.1, 240, 240, 240, 240, 240, 240))
    assert found.sizes.tolist() == [1, 3, 2, 6]
    assert found.gaps_ms.tolist() == pytest.approx([80, 76.5, 79.9])
    assert found.shares() == pytest.approx((1 / 12, 2 / 12, 3 / 12, 0, 6 / 12))


def test_loss_duplicates_and_reordering_are_counted_exactly() -> None:
    found = loss.loss(made("...x..d..xx..l...d.x."))
    assert (found.expected, found.received, found.lost) == (21, 17, 4)
    assert (found.duplicates, found.reordered, found.reordering_extent_max) == (2, 1, 2)
    assert found.longest_burst == 2
    assert found.burst_ratio == pytest.approx(4 / 3 * 17 / 21)


@given(st.text(alphabet=".xdl", max_size=120).map(lambda middle: f".{middle}..."))
@settings(max_examples=150, deadline=None)
def test_counts_are_what_the_pattern_says(pattern: str) -> None:
    found = loss.loss(made(pattern, sequence=65_500))
    assert found.lost == pattern.count("x")
    assert found.duplicates == pattern.count("d")
    assert found.received == len(pattern) - pattern.count("x")
    assert found.longest_burst == max(map(len, "".join(c if c == "x" else " " for c in pattern).split()), default=0)


def test_a_restart_of_the_numbering_is_no_loss_and_no_jitter() -> None:
    before = rtp_stream("." * 30, sequence=60_000)
    after = rtp_stream("." * 30, sequence=20_000, timestamp=3_000_000_000, start_ns=before[-1].time_ns + 20_000_000)
    found = summarise(received([*before, *after]))
    assert (found.packets_lost, found.sequence_restarts) == (0, 1)
    assert found.jitter_max_ms < 1e-6
    assert found.gap_max_ms == pytest.approx(20)


def test_a_long_outage_is_loss_and_no_restart() -> None:
    found = summarise(made("." * 30 + "x" * 3500 + "." * 30))
    assert (found.packets_lost, found.sequence_restarts, found.loss_burst_longest) == (3500, 0, 3500)


def test_one_way_delay_and_its_variation_on_one_clock() -> None:
    delays = np.random.default_rng(3).uniform(30, 90, 1000)
    sent = np.arange(1000, dtype=np.int64) * 20_000_000
    heard = trace(sent, sent + np.round(delays * 1e6).astype(np.int64))
    found = summarise(heard)
    assert found.owd_min_ms == pytest.approx(delays.min(), abs=1e-6)
    assert found.owd_p95_ms == pytest.approx(np.percentile(delays, 95), abs=1e-6)
    assert found.pdv_basis == "sent"
    assert found.pdv_max_ms == pytest.approx(np.ptp(delays), abs=1e-6)
    assert np.sort(delay.ipdv_ms(heard)) == pytest.approx(np.sort(np.diff(delays)), abs=1e-6)


def test_delay_across_two_clocks_is_refused_and_variation_is_not() -> None:
    sent = np.arange(50, dtype=np.int64) * 20_000_000
    heard = trace(sent, sent + 3_000_000_000, sent_clock="a", arrived_clock="b")
    with pytest.raises(ValueError, match="different clocks"):
        delay.one_way_delay_ms(heard)
    found = summarise(heard)
    assert np.isnan(found.owd_min_ms)
    assert found.pdv_max_ms == 0.0


def test_lost_rows_of_a_paired_trace_count_from_the_first_to_the_last() -> None:
    sent = received(rtp_stream("." * 20))
    heard = received(rtp_stream("xx.........xx.....xx"))
    found = summarise(pair(sent, heard))
    assert (found.packets_expected, found.packets_received, found.packets_lost) == (20, 14, 6)
    assert found.loss_burst_longest == 2
    assert found.burst_ratio == pytest.approx(2 * 0.7)


def test_an_empty_trace_and_one_that_lost_all_have_figures_of_nothing() -> None:
    none = made(".").take(np.zeros(0, dtype=np.int64))
    found = summarise(none)
    assert (found.packets_expected, found.packets_received) == (0, 0)
    assert np.isnan(found.jitter_mean_ms)
    gone = made("....")
    gone = gone.with_arrivals(np.full(4, LOST, dtype=np.int64))
    assert (summarise(gone).packets_lost, summarise(gone).loss_ratio) == (4, 1.0)


@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_the_lengths_of_stretches(flags: list[bool]) -> None:
    text = "".join("x" if flag else " " for flag in flags)
    assert runs(np.array(flags, dtype=bool)).tolist() == [len(stretch) for stretch in text.split()]


def test_the_estimate_has_no_drift_over_a_long_call() -> None:
    n = 100_000
    sent = np.arange(n, dtype=np.int64) * 20_000_000
    noise = np.random.default_rng(1).integers(0, 10_000_000, n)
    heard = trace(sent, sent + 50_000_000 + noise)
    exact = list(accumulate(np.abs(np.diff(noise[heard.sequence] / 1e6)), lambda j, d: j + (d - j) / 16, initial=0.0))
    assert jitter.jitter_ms(heard) == pytest.approx(np.array(exact), abs=1e-7)


@pytest.mark.parametrize(
    ("steps", "usual"),
    [
        ([160] * 50, 160),
        ([160] * 30 + [480] * 20, 160),
        ([160] * 20 + [480] * 30, 480),
        ([160, 4000] * 10 + [160], 160),
        ([*range(120, 201)], 160),
        ([-500, 160], 160),
        ([-1, 0], 8000 // 50),
    ],
)
def test_the_usual_step_is_the_most_frequent_one_or_the_median(steps: list[int], usual: int) -> None:
    timestamp = 10_000 + np.cumsum([0, *steps])
    trace = numbering.received(np.arange(len(timestamp)), timestamp, np.arange(len(timestamp)) * 20)
    assert usual_step(trace) == usual
    # Copies between the packets and a late packet hide no step.
    rows = np.concatenate([np.arange(len(timestamp)), [0]])
    twice = np.array([*np.repeat(rows, 2)[1:], 0])
    assert usual_step(trace.take(twice)) == usual


@pytest.mark.parametrize("mean_ms", [0.01, 3.0, 80.0, 20_000.0])
@pytest.mark.parametrize("packets", [1, 2, 256, 257, 258, 700])
def test_the_last_estimate_is_the_last_of_the_series_whatever_came_before(packets: int, mean_ms: float) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # Half of the streams end with a calm stretch, in which the estimate falls slowly.
        delay = rng.exponential(mean_ms, packets) * (rng.random(packets) < 0.3)
        delay[packets // 2 :] *= seed % 2
        found = made("." * packets, delay_ms=delay.tolist().__getitem__)
        assert jitter.last_jitter_units(found) == jitter.jitter_units(found)[-1]


@pytest.mark.parametrize("step", [0, 160])
def test_timestamps_that_stand_still_are_told(step: int) -> None:
    number = np.arange(100)
    still = numbering.received(number, number * step + 5000, number * 20)
    told = any("stand still" in note for note in arrivals(still).timeline.notes)
    assert told == (step == 0)
