"""What a jitter buffer made of a trace: which frames it played and when, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, Bool
from earwitness.ear.account import Account, account, spoken_ns
from earwitness.ear.base import Fate, JitterBuffer
from earwitness.ear.clock import Clock
from earwitness.ear.clocked import beside_places
from earwitness.ear.frames import Frames, frames_of
from earwitness.ear.kind import Foreseeing
from earwitness.ear.ledger import ledger_table
from earwitness.ear.levels import quiet_frames
from earwitness.ear.losses import frames_in_each, inferred_losses, leapt_over
from earwitness.ear.payload import FrameBytes
from earwitness.ear.redundancy import recovered
from earwitness.ear.replay import Replay, replay
from earwitness.ear.span import leap_seconds, without_leaps
from earwitness.ear.stream_codecs import in_main_clock
from earwitness.extras import need
from earwitness.speech.codecs.base import Codec
from earwitness.trace.model import Trace
from earwitness.trace.series import arrivals
from earwitness.trace.timeline import mended

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Received:
    """A trace as a phone has it, ready for a buffer: lost packets recovered, and breaks of its numbering mended."""

    trace: Trace
    frames: Frames
    leap_s: float
    """Excess of RTP timestamp time over arrival time, if it is too large for a call (see `span`), s."""
    breaks: tuple[str, ...]
    """Where the sender's numbering broke (`earwitness.trace.timeline`), one sentence each."""
    recovery: tuple[str, ...]
    """What was recovered from redundancy (`earwitness.ear.redundancy`), one sentence each."""
    uneven: tuple[str, ...]
    """What is said of timestamps beside the places of their packets (`earwitness.ear.clocked`), a sentence or none."""
    from_red: int
    """Lost packets recovered from RED (RFC 2198) ..."""
    from_fec: int
    """... and from FEC packets."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Played:
    """What a phone's jitter buffer made of one direction of a call, as `here` says that the phone received it."""

    buffer: str
    here: Received = field(repr=False)
    played: Replay = field(repr=False)
    account: Account = field(repr=False)
    concealment: str
    """How missing speech is concealed: one of `earwitness.ear.conceal.CONCEALMENTS`."""
    malformed: tuple[int, ...] = ()
    """The frames that the decoder refused; they were concealed. Known only where the stream is decoded."""
    audio_delay_ns: int = 0
    """Delay added after the buffer by decoder and concealment, ns."""
    round_trip_ms: float | None = None
    """Median round trip to the sender by RTCP, if known: half of it is the network's part of a delay that a capture at
    one end cannot show."""

    @property
    def trace(self) -> Trace:
        """The packets, as in `here`."""
        return self.here.trace

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What in the packets is not heard, or is implausible and makes the results doubtful."""
        notes: list[str] = [*self.here.breaks, *self.here.uneven, *self.here.recovery]
        notes += [*self.played.frames.doubts, *self.played.notes]
        if self.here.leap_s:
            notes.append(
                f"the RTP timestamps leap over {self.here.leap_s:.0f} s in which nothing arrived; delays derived from"
                " them are unreliable"
            )
        if skipped := leapt_over(self.trace):
            notes.append(
                f"{skipped} sequence numbers were skipped in too short a time for them to be losses; not counted"
            )
        if self.malformed:
            notes.append(
                f"the decoder refused {len(self.malformed)} of {len(self.played.frames)} frames (of another codec, or"
                " encrypted?); they are concealed, and count as discarded"
            )
        return tuple(notes)

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """A row for each sent frame and each concealed or silent frame length; see `ledger_table`."""
        need("data", tried="making a table of", on="what became of each frame")
        return ledger_table(self.trace, self.played, self.account, self.audio_delay_ns, self.round_trip_ms)

    @cached_property
    def playout_delay_ms(self) -> F64:
        """Playing time minus arrival time of each frame that was played, ms."""
        row, when = self._when_played
        return (when - self.trace.arrived_ns[self.played.frames.packet[row]]) / 1e6

    @cached_property
    def frame_delay_ms(self) -> F64:
        """Mouth-to-ear delay of each frame that was played, ms: played minus spoken, plus the codec's look-ahead."""
        row, when = self._when_played
        frames = self.played.frames
        spoken, _ = spoken_ns(self.trace, frames.packet_ns, self.round_trip_ms)
        begun = spoken[frames.packet[row]] + frames.part[row] * frames.stream.frame_ns
        return (when - begun + frames.lookahead_ns[row]) / 1e6

    @cached_property
    def _when_played(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        row = np.flatnonzero(self.account.pull >= 0)
        return row, self.played.pulled_ns[self.account.pull[row]] + self.audio_delay_ns

    @property
    def mouth_to_ear_basis(self) -> str:
        """`sent`: true mouth-to-ear delay; `rtt/2`: with half of RTCP's round trip as the median network delay;
        `fastest packet`: excluding the minimum network delay, which a single capture cannot show."""
        return spoken_ns(self.trace, self.played.frames.packet_ns, self.round_trip_ms)[1]

    @property
    def playout_delay_mean_ms(self) -> float:
        """Mean time between arrival and playing, ms; NaN if no frame was played."""
        return _mean(self.playout_delay_ms)

    @property
    def playout_delay_p95_ms(self) -> float:
        """95th percentile of the same."""
        return _p95(self.playout_delay_ms)

    @property
    def mouth_to_ear_mean_ms(self) -> float:
        """Mean mouth-to-ear delay of the frames played, ms (see `mouth_to_ear_basis`); NaN if none was played."""
        return _mean(self.frame_delay_ms)

    @property
    def mouth_to_ear_p95_ms(self) -> float:
        """95th percentile of the same."""
        return _p95(self.frame_delay_ms)

    @cached_property
    def shares(self) -> dict[str, float]:
        """Shares, each 0..1.

        Of the frames sent (known, or inferred from gaps in the sequence numbers; without duplicates, and without those
        that came while the phone did not play): `played_ratio`, `late_ratio`, `lost_ratio`, `discarded_ratio`, which
        sum to 1. Of the playing time outside the speaker's pauses: `concealed_ratio`, `stretched_ratio`. Of all playing
        time: `pause_ratio`.
        """
        counted = self.account
        inferred = len(inferred_losses(self.trace)[0])
        inferred *= frames_in_each(self.trace, self.played.frames, inferred)
        sent = len(counted.fate) - counted.frames_with(Fate.DUPLICATE, Fate.UNHEARD) + inferred
        speech = counted.pulls_from(Fate.PLAYED, Fate.STRETCHED, Fate.CONCEALED)
        return {
            "played_ratio": _ratio(counted.frames_with(Fate.PLAYED, Fate.STRETCHED), sent),
            "late_ratio": _ratio(counted.frames_with(Fate.LATE), sent),
            "lost_ratio": _ratio(counted.frames_with(Fate.LOST) + inferred, sent),
            "discarded_ratio": _ratio(counted.frames_with(Fate.DISCARDED), sent),
            "concealed_ratio": _ratio(counted.pulls_from(Fate.CONCEALED), speech),
            "stretched_ratio": _ratio(counted.pulls_from(Fate.STRETCHED), speech),
            "pause_ratio": _ratio(counted.pulls_from(Fate.PAUSE), len(counted.source)),
        }

    @property
    def end_system_delay_ms(self) -> float:
        """What the two ends add: packetisation, codec, buffer and concealment; the mean over the frames played, ms, NaN
        if none was."""
        row, _ = self._when_played
        frames = self.played.frames
        within = frames.packet_ns[frames.packet[row]] - frames.part[row] * frames.stream.frame_ns
        return _mean(self.playout_delay_ms + (within + frames.lookahead_ns[row]) / 1e6)

    def figures(self) -> dict[str, float | str]:
        """Delays and shares under the names that every command and table gives them."""
        return {
            "mouth_to_ear_ms": self.mouth_to_ear_mean_ms,
            "mouth_to_ear_p95_ms": self.mouth_to_ear_p95_ms,
            "mouth_to_ear_basis": self.mouth_to_ear_basis,
            "playout_delay_ms": self.playout_delay_mean_ms,
            "playout_delay_p95_ms": self.playout_delay_p95_ms,
            **self.shares,
        }

    @cached_property
    def discarded(self) -> Bool:
        """The packets that arrived with speech of which the buffer played nothing, (n,); what the decoder refused, it
        played."""
        frames = self.played.frames
        played = np.zeros(len(self.trace), dtype=np.int64)
        np.add.at(played, frames.packet, self.account.pull >= 0)
        played[frames.packet[list(self.malformed)]] += 1
        unplayed = self.trace.arrived & (frames.count > 0) & (played == 0)
        return np.asarray(unplayed & ~self.played.outside if len(self.played.outside) else unplayed)


def received(trace: Trace, codec: Codec, ear: JitterBuffer, repair: Trace | None = None) -> Received:
    """Recover, mend and divide a trace into frames; `repair`: a stream of its own with FEC for this one.

    Raises InputError if the trace does not carry this codec.
    """
    found = recovered(trace, repair)
    trace = in_main_clock(found.trace, codec)
    series = arrivals(trace)
    breaks = (*replace(series.timeline, remarks=()).notes, *series.faults)
    if not series.timeline.whole:
        trace = mended(trace)
    leap_s = leap_seconds(trace)
    if leap_s and isinstance(ear, Foreseeing):
        # The oracle plans by timestamps alone; other buffers restart where timestamps leap.
        trace = without_leaps(trace)
    frames = frames_of(trace, codec)
    beside = beside_places(trace, frames)
    # The captured phone had the timestamps as they came, so its own buffer has them as well.
    moved = beside.count > 0 and not ear.follows_phone_clock
    if moved:
        trace = replace(trace, timestamp=trace.timestamp + beside.shift)
        frames = replace(frames, timestamp=frames.timestamp + beside.shift[frames.packet])
    uneven = beside.said(moved)
    return Received(trace, frames, leap_s, breaks, found.notes, uneven, found.from_red, found.from_fec)


def play(
    here: Received,
    buffer: JitterBuffer,
    *,
    source: FrameBytes | None = None,
    clock_ns: Clock | None = None,
    audio_delay_ns: int = 0,
    round_trip_ms: float | None = None,
) -> Played:
    """What a buffer makes of a trace `received` for it, without decoding it. Other arguments: as for `ear.hear`.

    `source`: the frames' bytes, only for buffers that use loudness; without it they take no frame for quiet.
    """
    quiet = quiet_frames(here.frames, source) if buffer.wants_levels and source is not None else ()
    done = replay(here.trace, here.frames, buffer, clock_ns, quiet)
    return Played(
        buffer=buffer.spec,
        concealment=buffer.concealment,
        here=here,
        played=done,
        account=account(here.trace, done),
        audio_delay_ns=audio_delay_ns,
        round_trip_ms=round_trip_ms,
    )


def _mean(values: F64) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _p95(values: F64) -> float:
    return float(np.percentile(values, 95)) if len(values) else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
