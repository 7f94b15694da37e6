"""Packets that come late, again or astray: counted as what they are, with the delay that they had."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.trace.timeline import timeline
from earwitness.trace.timing import summarise
from testing.trace.numbering import received

N = 500
NUMBER = np.arange(N)


@pytest.mark.parametrize(("packet_ms", "late_ms"), [(20, 3000), (10, 1200), (5, 600), (20, 8000)])
@pytest.mark.parametrize("rows", [[100], [100, 101], [30, 100, 400]])
def test_late_packets_are_late_and_neither_lost_nor_a_restart(packet_ms: int, late_ms: int, rows: list[int]) -> None:
    late = np.isin(NUMBER, rows)
    found = summarise(received(NUMBER, NUMBER * packet_ms * 8, NUMBER * packet_ms + late * late_ms))
    assert (found.packets_expected, found.packets_received, found.packets_duplicate) == (N, N, 0)
    assert (found.sequence_restarts, found.timestamp_jumps, found.holds) == (0, 0, 0)
    assert found.pdv_max_ms == pytest.approx(late_ms)
    assert found.packets_reordered == len(rows)


@pytest.mark.parametrize("rows", [[100, 200, 300], [*range(N)]])
def test_second_copies_that_come_seconds_later_are_duplicates(rows: list[int]) -> None:
    number = np.concatenate([NUMBER, rows])
    arrived = np.concatenate([NUMBER * 20, np.array(rows) * 20 + 3000])
    found = summarise(received(number, number * 160, arrived))
    assert (found.packets_lost, found.packets_received, found.packets_duplicate) == (0, N, len(rows))
    assert (found.sequence_restarts, found.timestamp_jumps, found.pdv_max_ms) == (0, 0, 0.0)


def test_a_capture_whose_clock_was_set_back_loses_nothing() -> None:
    trace = received(NUMBER, NUMBER * 160, NUMBER * 20 - np.where(NUMBER >= 250, 3000, 0))
    found = summarise(trace)
    assert (found.packets_lost, found.packets_received, found.packets_duplicate) == (0, N, 0)
    assert found.sequence_restarts == 0


@pytest.mark.parametrize("off", [20_000, -5000, -200, 2000, 150])
def test_a_stray_number_is_neither_loss_nor_progress(off: int) -> None:
    found = summarise(received(30_000 + NUMBER + np.where(NUMBER == 50, off, 0), NUMBER * 160, NUMBER * 20))
    # The true number of that packet did not arrive.
    assert (found.packets_expected, found.packets_lost, found.packets_duplicate) == (N, 1, 1)
    assert found.sequence_restarts == 0
    assert found.pdv_max_ms == 0.0


def test_a_late_packet_belongs_to_the_part_of_its_number() -> None:
    """Here from before a jump of the timestamps, after which it comes."""
    timestamp = NUMBER * 160 + np.where(NUMBER >= 250, 2**30, 0)
    trace = received(NUMBER, timestamp, NUMBER * 20 + np.where(NUMBER == 248, 400, 0))
    assert timeline(trace).jumps == 1
    found = summarise(trace)
    assert (found.packets_lost, found.pdv_max_ms) == (0, 400.0)


@pytest.mark.parametrize("happens", ["restart", "jump", "hold"])
def test_packets_that_overtake_each_other_after_a_break_are_of_one_part(happens: str) -> None:
    after = NUMBER >= 250
    sequence = NUMBER + np.where(after & (happens == "restart"), 20_000, 0)
    timestamp = NUMBER * 160 + np.where(after & (happens != "hold"), 2**30, 0)
    came = NUMBER * 20.0 + np.where(after & (happens == "hold"), 5000, 0)
    came[250:252] += 50
    found = summarise(received(sequence, timestamp, came))
    assert (found.sequence_restarts, found.timestamp_jumps, found.holds) == tuple(
        int(happens == one) for one in ("restart", "jump", "hold")
    )
    assert (found.packets_received, found.packets_lost, found.packets_duplicate) == (N, 0, 0)
    assert found.packets_reordered == 2
    assert found.pdv_max_ms == pytest.approx(50, abs=1e-6)
    assert found.talkspurts == (2 if happens == "hold" else 1)


ROW = st.integers(0, N - 1)
LATE = st.lists(st.tuples(ROW, st.integers(0, 8000)), max_size=6)
NOTHING = (0, 0, 0, 0)
EVENT = st.one_of(
    st.just(NOTHING),
    st.tuples(ROW, st.sampled_from([2**20, 2**31, -(2**20), 8000]), st.just(0), st.just(0)),
    st.tuples(ROW, st.integers(2**26, 2**32 - 2**26), st.sampled_from([150, 2000, 20_000, 40_000, -5000]), st.just(0)),
    st.tuples(ROW, st.just(0), st.just(0), st.sampled_from([3000, 60_000])),
)


@given(lost=st.sets(ROW, max_size=200), late=LATE, copies=LATE, event=EVENT, first=st.integers(0, 0xFFFF))
@settings(max_examples=150, deadline=None)
def test_no_more_packets_are_expected_than_were_sent(
    lost: set[int],
    late: list[tuple[int, int]],
    copies: list[tuple[int, int]],
    event: tuple[int, int, int, int],
    first: int,
) -> None:
    """However late they come, and in how many copies, and whether the sender's timestamps jump, its numbers begin anew,
    or it holds."""
    begin, ticks, numbers, hold_ms = event
    if numbers:
        # Of several that come late over a restart, some may be taken for another one.
        late, copies = late[:1], []
    after = begin <= NUMBER
    sequence, timestamp = first + NUMBER + after * numbers, NUMBER * 160 + after * ticks
    came = NUMBER * 20.0 + after * hold_ms
    kept = [row for row in range(N) if row not in lost]
    rows = np.array([*kept, *(row for row, _ in copies)], dtype=int)
    delay = np.array([*(dict(late).get(row, 0) for row in kept), *(ms for _, ms in copies)])
    found = summarise(received(sequence[rows], timestamp[rows], came[rows] + delay))
    assert found.packets_received + found.packets_duplicate == len(rows)
    assert found.packets_expected <= N
    distinct = len({*rows.tolist()})
    # A packet that comes late over a break may be taken for a stray, and so may the only one after it.
    assert distinct - bool(ticks) * len([*late, *copies, after]) <= found.packets_received <= distinct
