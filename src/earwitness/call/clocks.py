"""One clock for a call between two machines: the callee's times on the caller's clock, and a bound on their error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from earwitness.archive.facts import Clock
from earwitness.call.placed_call import CALLEE_MARKS, PlacedCall
from earwitness.errors import InputError
from earwitness.trace.clock import ClockEstimate, estimate_clock, on_one_clock
from earwitness.trace.model import Trace

SAME_CLOCK_ERROR_MS = 0.1
"""One kernel timestamps both ends. What remains is the conversion of timestamps to the call's clock (microseconds)
and the time between the timestamp and the device."""

_KIND = "CLOCK_MONOTONIC + one offset to Unix time, kernel stamps converted to it"


@dataclass(frozen=True)
class OnOneClock:
    """A call's times, converted to the caller's clock as far as possible."""

    traces: Mapping[str, Trace]
    """By direction. With two machines and `error_ms` None, each time is on the clock of the machine that read it."""
    milestones: Mapping[str, int]
    error_ms: float | None
    """Bound on the error of every one-way delay, for any path; None if the error cannot be bounded."""
    clocks: Mapping[str, Clock]


def one_clock(placed: PlacedCall, traces: Mapping[str, Trace], notes: list[str]) -> OnOneClock:
    """Convert the traces and milestones of a call to the caller's clock.

    With two machines, offset and skew of their clocks are estimated from the packets of both directions
    (`earwitness.trace.clock`). If that fails there are no one-way delays: the callee's milestones are left out, and a
    note gives the reason.
    """
    here, there = placed.clocks["caller"], placed.clocks["callee"]
    if here == there:
        clock = Clock(kind=_KIND, host="this machine", error_ms=SAME_CLOCK_ERROR_MS)
        return OnOneClock(traces, placed.record.milestones, SAME_CLOCK_ERROR_MS, {here: clock})
    clocks = {here: Clock(kind=_KIND, host="the caller's machine", error_ms=0.0)}
    far_kind = f"{_KIND}, on another machine"
    try:
        if len(traces) < 2:
            raise InputError(
                "comparing the clocks of", "both ends", "media of one direction at most", "see the outcome"
            )
        estimate = estimate_clock(traces["to_callee"], traces["to_caller"])
    except InputError as error:
        notes.append(f"no one-way delays: {error}")
        own = {name: at for name, at in placed.record.milestones.items() if name not in CALLEE_MARKS.values()}
        return OnOneClock(traces, own, None, {**clocks, there: Clock(kind=far_kind, host=placed.record.callee.host)})
    moved = {direction: on_one_clock(trace, estimate) for direction, trace in traces.items()}
    clocks[there] = Clock(
        kind=far_kind,
        host=placed.record.callee.host,
        error_ms=round(estimate.error_ms, 6),
        offset_ns=estimate.offset_ns,
        skew_ppm=round(estimate.skew_ppm, 6),
        symmetric_error_ms=round(estimate.bound_ms, 6),
    )
    return OnOneClock(moved, _milestones(placed, estimate), estimate.error_ms, clocks)


def _milestones(placed: PlacedCall, estimate: ClockEstimate) -> dict[str, int]:
    callee = set(CALLEE_MARKS.values())
    moved = {
        name: int(estimate.to_here(np.array([at]))[0]) if name in callee else at
        for name, at in placed.record.milestones.items()
    }
    return dict(sorted(moved.items(), key=lambda item: item[1]))
