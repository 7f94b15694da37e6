"""Determines what happened to every frame sent, and what filled every instant of playing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, Bool
from earwitness.ear.base import CONCEAL, PAUSE, Fate
from earwitness.ear.losses import frames_in_each, inferred_losses
from earwitness.ear.replay import Replay
from earwitness.trace.model import LOST, UNKNOWN, Trace
from earwitness.trace.series import ticks_ns

FATES = tuple(Fate)
"""A fate code is an index into this."""

CODE = {fate: code for code, fate in enumerate(FATES)}


@dataclass(frozen=True, eq=False)
class Account:
    """Accounts for every frame and every pull of a replay.

    Per frame (m,): `fate` (code into `FATES`), `pull` that played it (-1: none), `due_ns`, when it should have played
    (`UNKNOWN`: never due). Per pull (k,): `source`, the fate code of what filled it (played, stretched, concealed or
    pause).
    """

    fate: NDArray[np.int8]
    pull: I64
    due_ns: I64
    source: NDArray[np.int8]

    def frames_with(self, *fates: Fate) -> int:
        """The number of the trace's frames with one of these fates."""
        return int(np.isin(self.fate, [CODE[fate] for fate in fates]).sum())

    def pulls_from(self, *sources: Fate) -> int:
        """The number of frame lengths of playing that came from one of these sources."""
        return int(np.isin(self.source, [CODE[source] for source in sources]).sum())


def media_ns(trace: Trace) -> I64:
    """The time of each packet's timestamp, (n,) int64 ns after the trace's smallest one.

    Relative, so that it can be added to a time.
    """
    if not len(trace):
        return np.zeros(0, dtype=np.int64)
    return ticks_ns(trace.timestamp - trace.timestamp.min(), trace.clock_rate)


HALF_RTT = "rtt/2"
"""Basis of a delay whose network part was estimated from RTCP's round trip (`least_delay_ms`)."""


def spoken_ns(trace: Trace, packet_ns: int | I64, round_trip_ms: float | None = None) -> tuple[I64, str]:
    """When the first sample of each packet was spoken, (n,) int64 on the arrival clock, and on what basis.

    `packet_ns`: the duration of each packet's audio, (n,), or of all: it was spoken that long before it was complete.
    `sent`: sending times are on the arrival clock; a packet leaves when its last sample has been spoken. A packet
    without an observed sending time gets one from its RTP timestamp and the other packets.
    `fastest packet`: sending times are not on the arrival clock; RTP timestamps give the spacing, and the fastest
    packet is assumed to have arrived as soon as it was complete. Delays are then too small by the minimum network
    delay. `rtt/2`: with `round_trip_ms`, the same plus that minimum as estimated by `least_delay_ms`.
    """
    arrived = trace.arrived
    clock = media_ns(trace)
    seen = trace.sent_ns != UNKNOWN
    if trace.one_clock and bool(np.any(seen)):
        began = trace.sent_ns - packet_ns
        usual = int(np.median(began[seen] - clock[seen]))
        return np.where(seen, began, clock + usual), "sent"
    began = trace.arrived_ns - packet_ns
    least = int(np.min(began[arrived] - clock[arrived])) if bool(np.any(arrived)) else 0
    if round_trip_ms is None:
        return clock + least, "fastest packet"
    return clock + least - round(least_delay_ms(trace, round_trip_ms) * 1e6), HALF_RTT


def least_delay_ms(trace: Trace, rtt_ms: float) -> float:
    """Estimate the minimum network delay for a trace captured only at the receiver; ms.

    Assumes that the median packet took half of the median round trip (from RTCP); the fastest one took less by as much
    as it arrived earlier than the median one. At least 0. Half a round trip is not a one-way delay, and results based
    on this say so.
    """
    came = trace.arrived
    late = trace.arrived_ns[came] - ticks_ns(trace.timestamp[came], trace.clock_rate)
    if not len(late):
        return 0.0
    return max(0.0, rtt_ms / 2.0 - float(np.median(late) - np.min(late)) / 1e6)


def account(trace: Trace, played: Replay, malformed: tuple[int, ...] = ()) -> Account:
    """What happened to every frame, and what filled every pull.

    A frame that was not played is `lost` if it never arrived, `duplicate` if its sequence number had arrived before,
    `unheard` if the phone did not play when it arrived, `late` if playing had passed it by then, else `discarded` (by
    the buffer, by the end of the recording, or because the decoder rejected it).
    """
    frames = played.frames
    ticks = frames.stream.frame_ticks
    m, k = len(frames), len(played)
    arrived_ns = trace.arrived_ns[frames.packet]
    lost = arrived_ns == LOST
    duplicate = _repeats(trace)[frames.packet]
    stretched_pull = (played.frame >= 0) & (played.end - played.start != ticks)

    passed = np.searchsorted(np.maximum.accumulate(played.end), frames.timestamp, side="right")
    due_ns = np.full(m, UNKNOWN, dtype=np.int64)
    came_due = passed < k
    due_ns[came_due] = played.pulled_ns[passed[came_due]]
    missed = np.zeros(m, dtype=np.bool_)
    missed[came_due] = arrived_ns[came_due] > played.asked_ns[passed[came_due]]
    pull = np.full(m, -1, dtype=np.int64)
    handed = np.flatnonzero((played.frame >= 0) & ~stretched_pull)
    pull[played.frame[handed]] = handed
    if bool(np.any(stretched_pull)):
        for row, at in stretched_frames(played, np.flatnonzero(stretched_pull), arrived_ns):
            pull[row] = at
    pull[list(malformed)] = -1
    was_played = pull >= 0
    due_ns[was_played] = played.pulled_ns[pull[was_played]]

    fate = np.full(m, CODE[Fate.DISCARDED], dtype=np.int8)
    fate[missed] = CODE[Fate.LATE]
    if bool(np.any(played.outside)):
        fate[played.outside[frames.packet]] = CODE[Fate.UNHEARD]
    fate[duplicate] = CODE[Fate.DUPLICATE]
    fate[lost] = CODE[Fate.LOST]
    fate[was_played] = np.where(stretched_pull[pull[was_played]], CODE[Fate.STRETCHED], CODE[Fate.PLAYED])

    source = np.where(stretched_pull, CODE[Fate.STRETCHED], CODE[Fate.PLAYED]).astype(np.int8)
    gap = played.frame < 0
    source[gap] = np.where(_silent(trace, played)[gap], CODE[Fate.PAUSE], CODE[Fate.CONCEALED])
    refused = np.isin(played.frame, malformed)
    source[refused] = CODE[Fate.CONCEALED]
    return Account(fate, pull, due_ns, source)


def stretched_frames(played: Replay, pulls: I64, arrived_ns: I64) -> list[tuple[int, int]]:
    """The frames that make up stretched pulls: (frame, the pull in which it begins), in playing order.

    Of several copies of a frame, the one that arrived first is used.
    """
    timestamp = played.frames.timestamp
    order = np.lexsort((arrived_ns, arrived_ns == LOST, timestamp))
    distinct, first = np.unique(timestamp[order], return_index=True)
    frame = order[first]
    low = np.searchsorted(distinct, played.start[pulls])
    high = np.searchsorted(distinct, played.end[pulls])
    bounds = zip(pulls.tolist(), low.tolist(), high.tolist(), strict=True)
    return [(one, pull) for pull, begin, end in bounds for one in frame[begin:end].tolist()]


def _repeats(trace: Trace) -> Bool:
    """Packets whose sequence number had arrived before, (n,)."""
    order = np.lexsort((trace.arrived_ns, trace.arrived_ns == LOST, trace.sequence))
    again: Bool = np.zeros(len(trace), dtype=np.bool_)
    ordered = trace.sequence[order]
    again[order[1:]] = ordered[1:] == ordered[:-1]
    again &= trace.arrived_ns != LOST
    return again


def _silent(trace: Trace, played: Replay) -> Bool:
    """Pulls without a frame during which the speaker was silent, judged from the whole trace, (k,).

    Silence suppression leaves a hole in the timestamps and none in the sequence numbers; a loss leaves both.
    """
    frames, ticks = played.frames, played.frames.stream.frame_ticks
    k = len(played)
    silent: Bool = played.frame == PAUSE
    unsure: Bool = played.frame == CONCEAL
    handed = np.flatnonzero(played.frame >= 0)
    if not len(handed) or not bool(np.any(unsure)):
        silent |= unsure
        return silent
    after = np.searchsorted(handed, np.arange(k))
    has_before, has_after = after > 0, after < len(handed)
    before_frame = played.frame[handed[np.maximum(after - 1, 0)]]
    after_frame = played.frame[handed[np.minimum(after, len(handed) - 1)]]
    step = trace.sequence[frames.packet[after_frame]] - trace.sequence[frames.packet[before_frame]]
    jump = frames.timestamp[after_frame] - frames.timestamp[before_frame]
    between = has_before & has_after
    # A buffer may place frames on a grid of its own, so a frame begins within the pull and not always with it.
    begins = np.unique(frames.timestamp)
    sent_here = np.searchsorted(begins, played.end) > np.searchsorted(begins, played.start)
    # Half a frame more or less is no pause, but a timestamp read from a clock.
    silent |= unsure & between & (step <= 1) & (2 * np.abs(jump - ticks) >= ticks)
    silent |= unsure & ~between & ~sent_here
    beside = np.flatnonzero(unsure & between & (step > 1))
    if len(beside):
        silent[beside] = _silent_beside_losses(trace, played, beside, before_frame[beside], after_frame[beside])
    return silent


def _silent_beside_losses(trace: Trace, played: Replay, pulls: I64, before: I64, after: I64) -> Bool:
    """Which of the pulls (p,), ascending, are in a pause although packets are missing between the frames played
    `before` and `after` them.

    A loss that is only inferred is taken to follow the packet before it, as in the ledger. The time that lost and known
    frames leave is a pause, if all numbers are accounted for. Where the media waits, the missing frames come first,
    then the pause; what it waits longer is none.
    """
    frames, ticks = played.frames, played.frames.stream.frame_ticks
    lost, lost_timestamp = inferred_losses(trace)
    each = frames_in_each(trace, frames, len(lost))
    parts = lost_timestamp[:, None] + np.arange(each) * ticks
    begins = np.unique(np.concatenate((frames.timestamp, parts.ravel())))
    sent_here = np.searchsorted(begins, played.end[pulls]) > np.searchsorted(begins, played.start[pulls])

    low, high = trace.sequence[frames.packet[before]], trace.sequence[frames.packet[after]]
    known = np.unique(np.concatenate((trace.sequence, lost)))
    accounted = np.searchsorted(known, high) - np.searchsorted(known, low) == high - low
    inferred = np.searchsorted(lost, high) - np.searchsorted(lost, low)
    begin, end = frames.timestamp[before] + ticks, frames.timestamp[after]
    missing = np.searchsorted(begins, end) - np.searchsorted(begins, begin)
    left = (end - begin) // ticks - missing
    # The lost packets may have been as long as the longest.
    pause = accounted & (left > inferred * (int(frames.count.max()) - each))

    waits = played.end[pulls] == played.start[pulls]
    gone = np.cumsum(waits | sent_here)
    _, first, gap = np.unique(after, return_index=True, return_inverse=True)
    nth = gone - (gone - (waits | sent_here))[first][gap]
    waited_out = pause & (nth > missing) & (nth <= missing + left)
    walked = accounted & (pause | (inferred == 0)) & ~sent_here
    return np.asarray(np.where(waits, waited_out, walked))
