"""The rows of a call, one per direction, filled in as traces, audio and scores become available."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from earwitness.analysis.conditions import NO_LINK
from earwitness.archive.layout import LISTENER, SPEAKER
from earwitness.archive.rows import row_of
from earwitness.archive.schema import Row
from earwitness.arrays import Pcm
from earwitness.call.defaults import DEFAULT_BUFFER
from earwitness.call.placed_call import PlacedCall
from earwitness.call.self_check import complaint
from earwitness.ear import Heard, buffer
from earwitness.errors import EarwitnessError
from earwitness.facts import finite
from earwitness.phone.linphone import recording_name
from earwitness.score.estimate import Estimate
from earwitness.score.kind import Evidence, ScorerRefused
from earwitness.score.listening import listening_quality, loopback
from earwitness.score.scorers import extra_scores
from earwitness.score.verdict import verdict
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import speech as reference_speech
from earwitness.speech.wav import read_wav, resample
from earwitness.trace.model import UNKNOWN, Trace
from earwitness.trace.timing import summarise


@lru_cache(maxsize=8)
def _ceiling_mos(codec: str, speech: str, seconds: float | None) -> float:
    """The speech after the codec alone, without packets; the same for all calls of a study."""
    kind = codec_of(codec)
    return loopback(kind, reference_speech(speech, kind.sample_rate, seconds).samples).pesq.mos_lqo


def blank_row(placed: PlacedCall, direction: str, marks: Mapping[str, int]) -> Row:
    """The row before any measurement of packets; `marks` are the milestones, on one clock."""
    plan, study = placed.plan, placed.plan.study
    row = replace(
        row_of(placed.record, direction),
        hops=placed.setup.hops,
        link=plan.link or NO_LINK,
        sip_server=plan.sip_server or "",
        concealment=plan.concealment or buffer(plan.buffer or DEFAULT_BUFFER).concealment,
        path_setup_ms=placed.setup.path_setup_ms,
        post_dial_delay_ms=_between(marks, "invite_sent", "first_provisional")
        or _between(marks, "invite_sent", "answered"),
        answer_delay_ms=_between(marks, "invite_sent", "answered"),
        first_media_ms=_between(marks, "invite_sent", f"first_media_{direction}"),
        send_deviation_p99_ms=placed.end(SPEAKER[direction]).send_deviation_p99_ms,
        rtcp_rtt_ms=placed.end(LISTENER[direction]).rtcp_rtt_ms,
    )
    if study is None:
        return row
    return replace(row, study=study.study, block=study.block, arm=study.arm, attempt=study.attempt)


def _send_deviation_p99_ms(trace: Trace) -> float | None:
    """99th percentile deviation of sending times from the grid of timestamps, for a phone that does not report it."""
    known = trace.take(trace.sent_ns != UNKNOWN)
    if not len(known):
        return None
    off = known.sent_ns - known.timestamp * 1_000_000_000 // known.clock_rate
    return float(np.quantile(np.abs(off - np.median(off)), 0.99)) / 1e6


def _packets_sent(trace: Trace) -> int:
    """Number of distinct packets known to have been sent; 0 if the speaker's end was not captured.

    Packets seen only at the listener's end count as sent: the two captures do not begin and end at the same time.
    """
    return len(np.unique(trace.sequence)) if bool(np.any(trace.sent_ns != UNKNOWN)) else 0


def with_timing(row: Row, placed: PlacedCall, trace: Trace, clock_error_ms: float | None) -> Row:
    """The row with the columns of packet timing, and whether the instrument's own timing was good enough."""
    timing = summarise(trace)
    sent = _packets_sent(trace)
    deviation = row.send_deviation_p99_ms
    if deviation is None:
        deviation = _send_deviation_p99_ms(trace)
    most = placed.end(SPEAKER[row.direction]).send_deviation_max_ms
    dropped = placed.caller.packets_dropped_by_kernel + placed.callee.packets_dropped_by_kernel
    trouble = complaint(placed.record.instrument, deviation, most, dropped)
    return replace(
        row.with_timing(timing, owd_error_ms=clock_error_ms),
        send_deviation_p99_ms=deviation,
        instrument_ok=None if trouble is None else not trouble,
        instrument_detail=trouble or "",
        packets_sent=sent,
        loss_ratio=(sent - timing.packets_received) / sent if sent else None,
    )


def with_quality(
    row: Row, placed: PlacedCall, heard: Heard, spoken: Pcm | None, codec: Codec, rated: Estimate
) -> tuple[Row, str]:
    """The row with the columns of the ear and the scorers, and why a scorer refused, if one did; `rated` as by
    `earwitness.score.played`."""
    row = replace(
        row,
        playout_buffer=heard.buffer,
        late_ratio=heard.shares["late_ratio"],
        concealed_ratio=heard.shares["concealed_ratio"],
        mouth_to_ear_ms=finite(heard.mouth_to_ear_mean_ms),
    )
    row = replace(row, mos_cqe=rated.mos_cqe, r_factor=rated.r_factor)
    if spoken is None:
        return row, "scoring with PESQ: the reference is missing; give the reference speech"
    try:
        score = listening_quality(spoken, heard.audio, heard.sample_rate)
        ceiling = _ceiling_mos(codec.spec, placed.record.speech.name, placed.plan.seconds)
    except ScorerRefused as error:
        return row, str(error)
    row = replace(row, pesq_raw=score.pesq.raw, mos_lqo=score.pesq.mos_lqo, mos_lqo_wb=score.mos_lqo_wb)
    judged = verdict(
        mos_lqo=row.mos_lqo,
        mouth_to_ear_ms=row.mouth_to_ear_ms,
        mos_cqe=row.mos_cqe,
        loss_ratio=row.loss_ratio,
        late_ratio=row.late_ratio,
        concealed_ratio=row.concealed_ratio,
        jitter_p95_ms=row.jitter_p95_ms,
        codec_ceiling_mos=ceiling,
    )
    return replace(row, verdict=judged.word, verdict_reason=judged.reason), ""


def with_extra_scores(
    row: Row, placed: PlacedCall, heard: Heard, spoken: Pcm | None, rated: Estimate, trace: Trace, notes: list[str]
) -> Row:
    """The row with the figures of the plan's additional scorers; one that refuses adds a note."""
    if not placed.plan.scorers:
        return row
    evidence = Evidence(
        heard=heard.audio,
        sample_rate=heard.sample_rate,
        reference=spoken,
        codec=row.codec,
        trace=trace,
        loss_ratio=row.loss_ratio,
        late_ratio=row.late_ratio,
        discarded_ratio=heard.shares["discarded_ratio"],
        burst_ratio=rated.burst_ratio,
        concealed_ratio=row.concealed_ratio,
        mouth_to_ear_ms=row.mouth_to_ear_ms,
    )
    scores, refused = extra_scores(placed.plan.scorers, evidence)
    notes.extend(f"{row.direction}: {why}" for why in refused)
    return replace(row, scores=scores)


def with_recording(
    row: Row, placed: PlacedCall, folder: Path, spoken: Pcm | None, codec: Codec, notes: list[str]
) -> Row:
    """The row with the score of the phone's own recording, if there is one."""
    listener = LISTENER[row.direction]
    recording = folder / recording_name(listener)
    if spoken is None or not recording.exists():
        return row
    try:
        samples, rate = read_wav(recording)
        score = listening_quality(spoken, resample(samples, rate, codec.sample_rate), codec.sample_rate)
    except EarwitnessError as error:
        notes.append(f"the {listener}'s own recording: {error}")
        return row
    return replace(row, phone_mos_lqo=score.pesq.mos_lqo)


def _between(marks: Mapping[str, int], begin: str, end: str) -> float | None:
    """Milliseconds between two milestones; None unless both were reached."""
    return (marks[end] - marks[begin]) / 1e6 if begin in marks and end in marks else None
