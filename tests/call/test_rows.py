"""Counting a direction's packets where the captures of its two ends did not begin and end together."""

from __future__ import annotations

import numpy as np

from earwitness.archive.schema import Row, columns
from earwitness.call.builder import CallBuilder
from earwitness.call.plan import CallPlan
from earwitness.call.rows import with_timing
from earwitness.errors import Outcome
from earwitness.trace.model import LOST, UNKNOWN, Trace
from earwitness.trace.pair import pair
from testing.trace.making import START_NS, trace

PLACED = CallBuilder("x", CallPlan(), "lab").placed(Outcome.COMPLETED)
SENT_NS = START_NS + np.arange(100, dtype=np.int64) * 20_000_000
ARRIVED_NS = SENT_NS + 30_000_000


def _counts(both: Trace) -> tuple[int | None, int | None, float | None]:
    row = with_timing(Row(direction="to_callee"), PLACED, both, 0.1)
    return row.packets_sent, row.packets_received, row.loss_ratio


def _captured(times_ns: np.ndarray, rows: slice) -> Trace:
    """What one end's capture holds of them."""
    return trace(np.full(len(times_ns), UNKNOWN), times_ns).take(np.arange(len(times_ns))[rows])


def test_packets_that_the_sender_s_capture_missed_at_both_ends_of_it_were_sent() -> None:
    both = pair(_captured(SENT_NS, slice(5, 90)), _captured(ARRIVED_NS, slice(None)))
    assert _counts(both) == (100, 100, 0.0)


def test_losses_are_counted_beside_them() -> None:
    heard = _captured(ARRIVED_NS, slice(None)).take(np.arange(100) % 10 != 3)
    assert _counts(pair(_captured(SENT_NS, slice(0, 90)), heard)) == (99, 90, 9 / 99)  # nobody saw the last one lost


def test_a_packet_that_came_twice_was_sent_once() -> None:
    twice = _captured(ARRIVED_NS, slice(None)).take(np.repeat(np.arange(100), 2))
    assert _counts(pair(_captured(SENT_NS, slice(None)), twice)) == (100, 100, 0.0)


def test_nothing_is_said_of_loss_where_nobody_watched_the_speaker() -> None:
    assert _counts(_captured(ARRIVED_NS, slice(None))) == (0, 100, None)


def test_all_lost() -> None:
    assert _counts(trace(SENT_NS, np.full(100, LOST))) == (100, 0, 1.0)


def test_every_column_that_packet_times_give_is_filled() -> None:
    row = with_timing(
        Row(direction="to_callee"), PLACED, trace(SENT_NS, ARRIVED_NS + np.arange(100) % 7 * 1_000_000), 0.1
    )
    named = [
        column.name for column in columns() if column.name.startswith(("jitter_", "owd_", "gap", "spikes_", "packets_"))
    ]
    assert len(named) > 15
    assert [name for name in named if getattr(row, name) is None] == []
    assert row.jitter_range_ms == row.jitter_max_ms, "the estimate begins at 0 (RFC 3550 6.4.1)"
    assert row.jitter_range_ms is not None
    assert row.jitter_range_ms > 0.5
