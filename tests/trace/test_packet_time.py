"""A packet time that changes within a call is no pause; what silence suppression leaves out is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from earwitness.trace.model import Trace
from earwitness.trace.series import arrivals
from earwitness.trace.timeline import timeline
from earwitness.trace.timing import summarise
from testing.trace.numbering import received


def paced(parts: Sequence[tuple[int, float]], *, clock_rate: int = 8000, size: Sequence[int] | None = None) -> Trace:
    """Packets of changing length, (how many, ms each), each sent when it is complete."""
    length = np.concatenate([np.full(count, ms) for count, ms in parts])
    begin = np.concatenate(([0.0], np.cumsum(length)[:-1]))
    ticks = np.rint(begin * clock_rate / 1000).astype(int)
    sizes = (
        length * 8 if size is None else np.concatenate([np.full(n, s) for (n, _), s in zip(parts, size, strict=True)])
    )
    return received(np.arange(len(length)), ticks, begin, clock_rate=clock_rate, size=sizes)


@pytest.mark.parametrize(
    "parts",
    [[(100, 20), (90, 60)], [(90, 60), (300, 10)], [(50, 10), (20, 20), (20, 30)], [(100, 20), (4, 40), (90, 20)]],
)
@pytest.mark.parametrize("clock_rate", [8000, 48000])
def test_a_change_of_the_packet_time_is_no_pause(parts: list[tuple[int, float]], clock_rate: int) -> None:
    found = summarise(paced(parts, clock_rate=clock_rate))
    assert (found.talkspurts, found.pauses_total_s) == (1, 0.0)
    assert found.packet_ms == max(parts)[1]
    assert (found.jitter_max_ms, found.pdv_max_ms, found.packets_lost) == (0.0, 0.0, 0)
    assert found.gap_max_ms == found.packet_ms
    assert found.gap_max_without_pauses_ms == max(ms for _, ms in parts)


def test_losses_after_a_change_are_lost_and_no_pause() -> None:
    trace = paced([(100, 20), (90, 60)])
    found = summarise(trace.take(~np.isin(np.arange(len(trace)), [150, 151])))
    assert (found.packets_lost, found.pauses_total_s, found.gap_max_without_pauses_ms) == (2, 0.0, 180.0)


def test_a_pause_after_a_change_has_its_own_length() -> None:
    found = summarise(paced([(90, 60), (40, 10), (1, 1010), (40, 10)]))
    assert (found.talkspurts, found.pauses_total_s) == (2, 1.0)


def test_late_packets_and_copies_hide_no_change() -> None:
    trace = paced([(100, 20), (90, 60)])
    rows = np.arange(len(trace))
    order = np.argsort(rows + np.where(rows % 10 == 3, 2.5, 0), kind="stable")
    order = np.sort(np.concatenate([order, order[::7]]))
    found = summarise(trace.take(order))
    assert (found.talkspurts, found.packets_lost) == (1, 0)


@pytest.mark.parametrize("descriptor_ms", [160, 400])
def test_silence_descriptors_at_even_times_are_pauses(descriptor_ms: int) -> None:
    """As AMR and Opus send them: small packets of the same payload type."""
    parts = [part for _ in range(3) for part in ((40, 20.0), (6, float(descriptor_ms)))]
    found = summarise(paced(parts, size=[33, 6] * 3))
    assert found.pauses_total_s == pytest.approx((17 * descriptor_ms - 17 * 20) / 1000)


def test_the_change_is_said() -> None:
    trace = paced([(100, 20), (90, 60)])
    assert any("packet time changes" in note for note in arrivals(trace).timeline.notes)
    assert not arrivals(paced([(100, 20)])).timeline.notes
    assert timeline(trace).whole
