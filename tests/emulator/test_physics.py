"""What goes into the emulated network comes out as told: known delays, exact losses, seeded randomness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.lab
Experiment = Callable[..., Any]


def test_a_known_delay_comes_out(experiment: Experiment) -> None:
    run = experiment("over", profile={"delay_ms": 40.0}, count=250, interval_s=0.004)
    log = run["log"]
    assert log["rtp_sequence"] == list(range(250))
    assert {due - entered for due, entered in zip(log["due_ns"], log["in_ns"], strict=True)} == {40_000_000}
    assert all(out >= due for out, due in zip(log["out_ns"], log["due_ns"], strict=True))
    sequences, arrived = zip(*run["arrived"], strict=True)
    assert sequences == tuple(range(250))
    delays = (np.array(arrived) - np.array(run["sent_ns"])) / 1e6
    assert delays.min() >= 40.0
    assert np.median(delays) < 42.0  # the precision itself is a benchmark's matter
    assert run["drops"] == 0


def test_measured_delay_is_the_logs(experiment: Experiment) -> None:
    run = experiment("over", profile={"delay_ms": 20.0, "jitter_ms": 4.0}, count=250, interval_s=0.004, seed=3)
    log = run["log"]
    measured = {sequence: arrived - run["sent_ns"][sequence] for sequence, arrived in run["arrived"]}
    by_log = dict(zip(log["rtp_sequence"], np.array(log["out_ns"]) - np.array(log["in_ns"]), strict=True))
    differences = np.array([measured[n] - by_log[n] for n in measured]) / 1e6
    assert len(differences) == 250
    assert abs(np.median(differences)) < 0.5
    assert np.std(np.array(log["due_ns"]) - np.array(log["in_ns"])) / 1e6 > 2.0


def test_declared_loss_is_exact_and_strikes_rtp_only(experiment: Experiment) -> None:
    cases = {"1/100": 6, "3/100": 18, "1/10": 60}
    profiles = [{"delay_ms": 5.0, "loss_pattern": pattern, "loss_on": "rtp"} for pattern in cases]
    runs = [{"profile": profile, "count": 600, "interval_s": 0.0005, "other": 1} for profile in profiles]
    for lost, run in zip(cases.values(), experiment("several", runs=runs), strict=True):
        arrived = {sequence for sequence, _ in run["arrived"]}
        assert len(arrived) == 600 - lost
        fates = dict(zip(run["log"]["rtp_sequence"], run["log"]["fate"], strict=True))
        assert {sequence for sequence, fate in fates.items() if fate == "delivered"} == arrived
        assert Counter(fates.values())["lost_declared"] == lost
        totals = run["statistics"]["fates"]
        assert (totals["delivered"], totals["lost_declared"]) == (1200 - lost, lost)


def test_the_same_seed_gives_the_same_decisions(experiment: Experiment) -> None:
    profile = {"delay_ms": 10.0, "jitter_ms": 3.0, "jitter_shape": "exponential", "loss_ratio": 0.1, "loss_burst": 3}
    runs = [{"profile": profile, "count": 200, "interval_s": 0.001, "seed": seed} for seed in (7, 7, 8)]
    first, again, other = (run["log"]["fate"] for run in experiment("several", runs=runs))
    assert first == again
    assert first != other
    assert 2 <= first.count("lost_random") <= 60


def test_packets_keep_their_order_unless_told(experiment: Experiment) -> None:
    jittery = {"profile": {"delay_ms": 20.0, "jitter_ms": 5.0}, "count": 300, "interval_s": 0.001}
    holding = {"delay_ms": 20.0, "reorder_ratio": 0.1, "reorder_ms": 15.0}
    kept, run = experiment("several", runs=[jittery, {"profile": holding, "count": 300, "interval_s": 0.004}])
    assert [n for n, _ in kept["arrived"]] == list(range(300))
    order = [n for n, _ in run["arrived"]]
    assert sorted(order) == list(range(300))
    held_back = np.array(run["log"]["due_ns"]) - np.array(run["log"]["in_ns"]) == 35_000_000
    late = [n for position, n in enumerate(order) if any(earlier > n for earlier in order[:position])]
    assert 10 < len(late) < 60
    assert set(late) <= {run["log"]["rtp_sequence"][i] for i in np.flatnonzero(held_back)}


def test_duplicates_arrive_twice(experiment: Experiment) -> None:
    run = experiment("over", profile={"delay_ms": 5.0, "duplicate_ratio": 0.2}, count=200, interval_s=0.001)
    counts = Counter(sequence for sequence, _ in run["arrived"])
    doubled = [n for n, fate in zip(run["log"]["rtp_sequence"], run["log"]["fate"], strict=True) if fate == "duplicate"]
    assert {n for n, times in counts.items() if times == 2} == set(doubled)
    assert 15 < len(doubled) < 70


def test_a_limited_link_serialises_and_drops_from_the_tail(experiment: Experiment) -> None:
    # 1,000 bytes of IP at 1 Mbit/s take 8 ms; a burst of 30 into a queue of 80 ms: the first goes at once, and
    # behind it ten wait no longer than 80 ms.
    profile = {"delay_ms": 10.0, "rate_mbit_s": 1.0, "queue_ms": 80.0}
    log = experiment("over", profile=profile, count=30, interval_s=0.0, size=972)["log"]
    assert set(log["length"]) == {1000}
    due = np.array([value for value in log["due_ns"] if value is not None])
    assert np.all(np.diff(due) == 8_000_000)
    assert len(due) in (11, 12)  # the twelfth, when the burst itself took some of the time
    assert Counter(log["fate"])["queue_full"] == 30 - len(due)


def test_a_recorded_trace_is_replayed(experiment: Experiment, tmp_path: Any) -> None:
    trace = tmp_path / "delays.txt"
    trace.write_text("# a spike, and a loss\n10\n12.5\nx\n60\n10\n")
    log = experiment("over", profile={"trace": str(trace)}, count=20, interval_s=0.02)["log"]
    by_sequence = {
        n: None if due is None else (due - entered) / 1e6
        for n, due, entered in zip(log["rtp_sequence"], log["due_ns"], log["in_ns"], strict=True)
    }
    assert [by_sequence[n] for n in range(20)] == [10.0, 12.5, None, 60.0, 10.0] * 4


def test_moving_a_host_changes_its_delays(experiment: Experiment) -> None:
    found = experiment("moving")
    for delays, planned in found.values():
        assert delays == pytest.approx([planned] * 5, abs=1e-5)
    assert found["Sydney"][1] > 2 * found["New York"][1]


def test_a_lost_host_is_told_from_no_route(experiment: Experiment) -> None:
    fates = experiment("losing_a_host")
    assert (fates["delivered"], fates["dead_host"], fates["no_route"]) == (0, 10, 7)


def test_a_call_arranged_with_the_same_seed_loses_the_same_packets(experiment: Experiment) -> None:
    run = experiment("arranging")
    first, second, third = run["found"]
    assert first == third != second
    assert 130 < len(first) < 185
    assert run["place"] == "London"
    assert run["back_ms"] > 30  # the other direction keeps its geography


def test_tcp_between_processes_of_two_hosts(experiment: Experiment) -> None:
    times = experiment("tcp")
    assert 60 <= times["connect_ms"] < 90
    assert 60 <= times["round_trip_ms"] < 90
