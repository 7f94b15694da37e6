"""Bursts and gaps of RFC 3611: by hand, and against the algorithm as its Appendix A.2 prints it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.score.voip_metrics import (
    DISCARDED,
    LOST,
    RECEIVED,
    Transitions,
    burst_ratio_of,
    fates_of,
    transitions,
    voip_metrics,
)


def fates(pattern: str) -> np.ndarray:
    """`.` received, `x` lost, `d` discarded; a number repeats what precedes it: `.20` is twenty received."""
    found: list[int] = []
    number, last = "", ""
    for char in pattern + " ":
        if char.isdigit():
            number += char
            continue
        if last:
            found += [".xd".index(last)] * (int(number) if number else 1)
        number, last = "", char.strip()
    return np.array(found, dtype=np.int64)


def by_the_book(packets: np.ndarray, gmin: int) -> Transitions:
    """Appendix A.2, packet by packet."""
    pkt = lost = loss_count = discard_count = c11 = c13 = c14 = c22 = c23 = c33 = 0
    for fate in packets.tolist():
        loss_count += fate == LOST
        discard_count += fate == DISCARDED
        if fate == RECEIVED:
            pkt += 1
            continue
        if pkt >= gmin:
            if lost == 1:
                c14 += 1
            else:
                c13 += 1
            lost = 1
            c11 += pkt
        else:
            lost += 1
            if pkt == 0:
                c33 += 1
            else:
                c23 += 1
                c22 += pkt - 1
        pkt = 0
    return Transitions(c11, c13, c14, c22, c23, c33, loss_count, discard_count)


def by_definition(packets: np.ndarray, gmin: int) -> tuple[int, int, int, int, int]:
    """Section 4.7.2: bursts, the packets and losses in them, isolated losses, and gaps; by trying each packet."""
    missing = [index for index, fate in enumerate(packets.tolist()) if fate != RECEIVED]
    bursts: list[list[int]] = []
    for index in missing:
        if bursts and index - bursts[-1][-1] - 1 < gmin:
            bursts[-1].append(index)
        else:
            bursts.append([index])
    real = [burst for burst in bursts if len(burst) > 1]
    inside = {index for burst in real for index in range(burst[0], burst[-1] + 1)}
    outside = [index not in inside for index in range(len(packets))]
    gaps = sum(now and not before for before, now in zip([False, *outside], outside, strict=False))
    return len(real), len(inside), sum(map(len, real)), len(bursts) - len(real), gaps


patterns = st.lists(
    st.tuples(st.sampled_from([RECEIVED, RECEIVED, LOST, DISCARDED]), st.integers(1, 22)), max_size=25
).map(lambda runs: np.array([fate for fate, count in runs for _ in range(count)], dtype=np.int64))


@settings(max_examples=200, deadline=None)
@given(patterns, st.sampled_from([1, 2, 5, 16]))
def test_the_counts_of_appendix_a2(packets: np.ndarray, gmin: int) -> None:
    assert transitions(packets, gmin) == by_the_book(packets, gmin)


@settings(max_examples=200, deadline=None)
@given(patterns, st.sampled_from([1, 2, 5, 16]))
def test_the_definition_of_4_7_2(packets: np.ndarray, gmin: int) -> None:
    found = voip_metrics(packets, 20.0, gmin)
    bursts, inside, lost_inside, alone, gaps = by_definition(packets, gmin)
    assert (found.bursts, found.gaps) == (bursts, gaps)
    assert found.burst_density == pytest.approx(lost_inside / inside if inside else 0.0)
    outside = len(packets) - inside
    assert found.gap_density == pytest.approx(alone / outside if outside else 0.0)
    assert found.burst_duration_ms * bursts + found.gap_duration_ms * gaps == pytest.approx(20.0 * len(packets))
    assert (found.loss_rate + found.discard_rate) * len(packets) == pytest.approx(np.count_nonzero(packets))


def test_a_burst_by_hand() -> None:
    """A burst of 8 packets, 5 of them missing, between two gaps, one with an isolated loss."""
    found = voip_metrics(fates(".20 x .16 xx..dx.x .40"), 20.0)
    assert (found.packets, found.bursts, found.gaps) == (85, 1, 2)
    assert found.burst_density == pytest.approx(5 / 8)
    assert found.burst_duration_ms == 160.0
    assert found.gap_density == pytest.approx(1 / 77)
    assert found.gap_duration_ms == 77 * 20 / 2
    assert (found.loss_rate, found.discard_rate) == pytest.approx((5 / 85, 1 / 85))
    assert found.block() == {
        "loss_rate": 15,
        "discard_rate": 3,
        "burst_density": 160,
        "gap_density": 3,
        "burst_duration": 160,
        "gap_duration": 770,
    }


def test_appendix_a2_by_hand() -> None:
    """Two bursts, then two isolated losses; A.2 files each group when the next begins."""
    counts = transitions(fates(".20 xx .3 x .16 x.d .30 x .18 x .5"))
    assert counts == Transitions(c11=20 + 16 + 30 + 18, c13=3, c14=1, c22=2, c23=2, c33=1, lost=6, discarded=1)
    found = counts.metrics(20.0)
    assert found is not None
    assert counts.total == 84 + 1 + 3 + 3 + 2 + 2 + 2 + 1
    p32, p23 = 2 / (3 + 2 + 1), 1 - 2 / 4
    assert found.burst_density == pytest.approx(p23 / (p23 + p32))
    assert found.gap_density == pytest.approx(1 / 85)
    assert found.gap_duration_ms == pytest.approx((84 + 1 + 3) * 20 / 3)
    assert found.burst_duration_ms == pytest.approx(98 * 20 / 3 - 88 * 20 / 3)
    assert transitions(fates(".50")).metrics(20.0) is None


@pytest.mark.parametrize("gap", [15, 16])
def test_gmin_received_packets_end_a_burst(gap: int) -> None:
    found = voip_metrics(fates(f".30 x .{gap} x .30"), 10.0)
    assert found.bursts == (1 if gap < 16 else 0)
    assert found.burst_duration_ms == (170.0 if gap < 16 else 0.0)
    assert found.gap_density == (0.0 if gap < 16 else pytest.approx(2 / 78))


@pytest.mark.parametrize("pattern", ["", ".", "x", "d", "xx", "x.", ".x", ".16", "x.16x"])
def test_the_shortest_calls(pattern: str) -> None:
    found = voip_metrics(fates(pattern), 20.0)
    assert found.packets == len(fates(pattern))
    assert all(0.0 <= value <= 1.0 for value in (found.burst_density, found.gap_density, found.loss_rate))
    assert found.gaps == (0 if pattern in ("", "xx") else 1)


def test_burst_ratio_is_that_of_g107() -> None:
    assert burst_ratio_of(fates(".10")) == burst_ratio_of(fates("x10")) == burst_ratio_of(fates("")) == 1.0
    assert burst_ratio_of(fates(".45 xxdx .45 xd")) == pytest.approx(3.0 * (1 - 6 / 96))
    random = (np.random.default_rng(2).random(200_000) < 0.1).astype(np.int64)
    assert burst_ratio_of(random) == pytest.approx(1.0, abs=0.01)


def test_other_fates_are_refused() -> None:
    for wrong in (np.array([0, 3]), np.array([-1]), np.zeros((2, 2), dtype=int)):
        for count in (transitions, burst_ratio_of, lambda packets: voip_metrics(packets, 20.0)):
            with pytest.raises(ValueError, match="fates are"):
                count(wrong)


def test_fates_from_sequence_numbers() -> None:
    numbers = np.array([7, 5, 6, 6, 10, 11, 11, 12, 90_000, 90_001, 9])
    arrived = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    late = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0], dtype=bool)
    assert fates_of(numbers, arrived, late).tolist() == fates("..." + "x.d.x" + ".d").tolist()
    nothing = np.zeros(0, dtype=np.int64)
    assert len(fates_of(nothing, nothing.astype(bool), nothing.astype(bool))) == 0


def test_fifty_thousand_packets_take_no_time() -> None:
    packets = np.random.default_rng(0).choice(3, 50_000, p=[0.95, 0.03, 0.02])
    begin = time.process_time()
    for _ in range(5):
        voip_metrics(packets, 20.0)
        transitions(packets)
        burst_ratio_of(packets)
    assert (time.process_time() - begin) / 5 < 0.02
