"""Bursts and gaps of RFC 3611: by hand, and against the algorithm as its Appendix A.2 prints it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.score.voip_metrics import (
    DISCARDED,
    LOST,
    RECEIVED,
    burst_ratio_of,
    fates_of,
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
        for count in (burst_ratio_of, lambda packets: voip_metrics(packets, 20.0)):
            with pytest.raises(ValueError, match="fates are"):
                count(wrong)


def test_fates_from_sequence_numbers() -> None:
    numbers = np.array([7, 5, 6, 6, 10, 11, 11, 12, 90_000, 90_001, 9])
    arrived = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    late = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0], dtype=bool)
    # Packet 8 was lost; between 12 and 90,000 the sender began anew.
    lost = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    assert fates_of(numbers, arrived, late, lost).tolist() == fates("..." + "x.d.x" + ".d").tolist()
    nothing = np.zeros(0, dtype=np.int64)
    assert len(fates_of(nothing, nothing.astype(bool), nothing.astype(bool), nothing)) == 0
