"""Where the clock of the capturing machine was set back (by NTP, or by hand): told by packets out of order, and undone.

Records that several queues of a network card swapped are earlier than the one before them too, but the next one is in
time again. After a clock was set back, all that follows goes on from there, and its own timestamps say by how much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.payload_types import CLOCK_RATES
from earwitness.trace.rtp import RtpHeaders
from earwitness.trace.steps import steps

_LEAST_NS = 45_000_000
"""A smaller step back is less than two packets of 20 ms, and cannot be told from the network's delay."""
_MOST_STEPS = 16
_LEAST_AFTER = 5
"""Datagrams after the step that go on without another."""
_NEAR, _LEAST_NEAR = 50, 5
"""Packets of a stream on either side, at most and at least, that say how far the clock was set back."""


@dataclass(frozen=True)
class ClockBack:
    """The times, ns and put right, of the first datagram after each step back, and by how much it was undone, ns."""

    at_ns: tuple[int, ...] = ()
    by_ns: tuple[int, ...] = ()

    def between(self, first_ns: int, last_ns: int) -> str:
        """What a stream over this time should say of the steps in it; empty if there are none."""
        within = [by for at, by in zip(self.at_ns, self.by_ns, strict=True) if first_ns < at <= last_ns]
        if not within:
            return ""
        often = "once" if len(within) == 1 else f"{len(within)} times"
        far = f"{sum(within) / 1e9:.2f} s" + (" in all" if len(within) > 1 else "")
        return (
            f"the capture's clock was set back {often}, by {far}: put right by the timestamps of the streams that went"
            " on, to some milliseconds"
        )


def forward_only(found: Datagrams, headers: RtpHeaders) -> tuple[Datagrams, ClockBack]:
    """The datagrams with times from which the steps back of the capture's clock are taken, and these; as they are if
    there are none. Times that fall for other reasons are left alone."""
    order = np.arange(len(found))
    if bool((steps(found.record) < 0).any()):
        order = np.argsort(found.record, kind="stable")
    times = found.time_ns[order]
    if len(times) < 2 or int(steps(times).min()) > -_LEAST_NS:
        return found, ClockBack()
    at_ns: list[int] = []
    by_ns: list[int] = []
    times = times.copy()
    for at in (np.flatnonzero(steps(times) <= -_LEAST_NS) + 1).tolist()[:_MOST_STEPS]:
        if not _goes_on(times, at):
            continue
        by = _set_back_by(times, order, at, found, headers)
        times[at:] += by
        at_ns.append(int(times[at]))
        by_ns.append(by)
    if not at_ns:
        return found, ClockBack()
    right = found.time_ns.copy()
    right[order] = times
    return replace(found, time_ns=right), ClockBack(tuple(at_ns), tuple(by_ns))


def _goes_on(times: I64, at: int) -> bool:
    """Whether the datagrams from `at` on go on in time, until they reach where those before were, without a leap to
    there."""
    before = int(times[at - 1])
    back = before - int(times[at])
    later = np.flatnonzero(times[at:] >= before)
    until = at + int(later[0]) + 1 if len(later) else len(times)
    if until - at < _LEAST_AFTER:
        return False
    onward = steps(times[at:until])
    return bool((onward > -_LEAST_NS).all()) and 2 * int(onward.max()) < back


def _set_back_by(times: I64, order: I64, at: int, found: Datagrams, headers: RtpHeaders) -> int:
    """By how much the clock was set back before datagram `at`, ns: the median over the streams that went on."""
    told = []
    rows = order[max(at - 40 * _NEAR, 0) : at + 40 * _NEAR]
    when = times[max(at - 40 * _NEAR, 0) : at + 40 * _NEAR]
    before = np.arange(len(rows)) < min(at, 40 * _NEAR)
    looks = headers.looks_right[rows]
    streams = found.flow[rows].astype(np.int64) << 32 | headers.ssrc[rows].astype(np.int64)
    for stream in np.unique(streams[looks]).tolist():
        mine = np.flatnonzero(looks & (streams == stream))
        early, late = mine[before[mine]][-_NEAR:], mine[~before[mine]][:_NEAR]
        if min(len(early), len(late)) < _LEAST_NEAR:
            continue
        ticks = headers.timestamp[rows[np.concatenate((early, late))]].astype(np.int64)
        ticks = ((ticks - ticks[0] + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        took, ran = steps(when[early]), steps(ticks[: len(early)])
        if int(ran.max()) <= 0 or int(np.median(took)) <= 0:
            continue
        rate = float(np.median(ran)) * 1e9 / float(np.median(took))
        clock = min(CLOCK_RATES, key=lambda one: abs(np.log(one / rate)) if rate > 0 else np.inf)
        lateness = when[np.concatenate((early, late))] - ticks * (1e9 / clock)
        told.append(float(np.median(lateness[: len(early)]) - np.median(lateness[len(early) :])))
    least = int(times[at - 1] - times[at])
    # Nothing before the step may have come after it.
    return max(round(float(np.median(told))), least) if told else least
