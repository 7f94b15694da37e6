"""The rows of a call, one a direction, as its traces, its sound and its scores come in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from earwitness.analysis.conditions import NO_LINK
from earwitness.archive.layout import LISTENER, SPEAKER
from earwitness.archive.schema import Row
from earwitness.arrays import Pcm
from earwitness.call.defaults import DEFAULT_BUFFER
from earwitness.call.placed_call import PlacedCall
from earwitness.call.self_check import complaint
from earwitness.ear import Heard, buffer
from earwitness.ear.burst import burst_ratio
from earwitness.errors import EarwitnessError, Outcome
from earwitness.path.probe import rows_of as probed
from earwitness.phone.linphone import recording_name
from earwitness.score.emodel import e_model
from earwitness.score.impairments import NoFactors
from earwitness.score.kind import Evidence, ScorerRefused
from earwitness.score.listening import listening_quality, loopback
from earwitness.score.scorers import extra_scores
from earwitness.score.verdict import verdict
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import speech as reference_speech
from earwitness.speech.wav import read_wav, resample
from earwitness.trace.model import UNKNOWN, Trace
from earwitness.trace.timing import Timing, summarise


@lru_cache(maxsize=8)
def _ceiling_mos(codec: str, speech: str, seconds: float | None) -> float:
    """What the codec alone leaves of the speech: the same for all calls of a study."""
    kind = codec_of(codec)
    return loopback(kind, reference_speech(speech, kind.sample_rate, seconds).samples).pesq.mos_lqo


def blank_row(live: PlacedCall, direction: str, marks: Mapping[str, int]) -> Row:
    """What is known before anything is measured; `marks` are the milestones, on one clock."""
    listener = live.end(LISTENER[direction])
    study = live.plan.study
    return Row(
        call_id=live.call_id,
        started_at=live.started_at,
        network=live.network,
        path=live.plan.path,
        hops=live.hops,
        circuit=" > ".join(f"{relay.nickname}@{relay.place}" for relay in live.circuit.relays),
        codec=live.codec,
        from_place=live.caller.endpoint.place,
        to_place=live.callee.endpoint.place,
        phone=live.plan.phone,
        relay_nodelay=live.path_details.get("relay_nodelay"),
        security=live.path_details.get("security", ""),
        tunnel_nodelay=live.path_details.get("tunnel_nodelay"),
        **probed(live.path_details, direction),
        load=live.load.get("load", ""),
        load_mbit_s=live.load.get("mbit_s"),
        link=live.plan.link or NO_LINK,
        sip_server=live.plan.sip_server or "",
        seed=live.plan.seed,
        direction=direction,
        speech=live.speech.name,
        concealment=live.plan.concealment or buffer(live.plan.buffer or DEFAULT_BUFFER).concealment,
        path_setup_ms=live.path_setup_ms,
        post_dial_delay_ms=_between(marks, "invite_sent", "first_provisional")
        or _between(marks, "invite_sent", "answered"),
        answer_delay_ms=_between(marks, "invite_sent", "answered"),
        first_media_ms=_between(marks, "invite_sent", f"first_media_{direction}"),
        send_deviation_p99_ms=live.end(SPEAKER[direction]).send_deviation_p99_ms,
        rtcp_rtt_ms=listener.rtcp_rtt_ms,
        study=study.study if study else "",
        block=study.block if study else "",
        arm=study.arm if study else "",
        attempt=study.attempt if study else None,
    )


def _send_deviation_p99_ms(trace: Trace) -> float | None:
    """How far from the grid of its timestamps a phone sent, which does not say so itself: 99th percentile."""
    known = trace.take(trace.sent_ns != UNKNOWN)
    if not len(known):
        return None
    off = known.sent_ns - known.timestamp * 1_000_000_000 // known.clock_rate
    return float(np.quantile(np.abs(off - np.median(off)), 0.99)) / 1e6


def _packets_sent(trace: Trace) -> int:
    """Distinct packets known to have been sent; 0 where nobody watched the speaker's end.

    A packet that only the listener's end saw was sent too: the captures of two ends do not begin and end together.
    """
    return len(np.unique(trace.sequence)) if bool(np.any(trace.sent_ns != UNKNOWN)) else 0


def timed(row: Row, live: PlacedCall, trace: Trace, clock_error_ms: float | None) -> Row:
    """The row with what the packets' times tell."""
    timing: Timing = summarise(trace)
    sent = _packets_sent(trace)
    deviation, most = row.send_deviation_p99_ms, live.end(SPEAKER[row.direction]).send_deviation_max_ms
    if deviation is None:
        deviation = _send_deviation_p99_ms(trace)
    dropped = live.caller.packets_dropped_by_kernel + live.callee.packets_dropped_by_kernel
    trouble = complaint(live.instrument, deviation, most, dropped)
    return replace(
        row,
        send_deviation_p99_ms=deviation,
        instrument_ok=None if trouble is None else not trouble,
        instrument_detail=trouble or "",
        packets_sent=sent,
        packets_received=timing.packets_received,
        packets_duplicate=timing.packets_duplicate,
        packets_reordered=timing.packets_reordered,
        loss_ratio=(sent - timing.packets_received) / sent if sent else None,
        jitter_mean_ms=finite(timing.jitter_mean_ms),
        jitter_median_ms=finite(timing.jitter_median_ms),
        jitter_p95_ms=finite(timing.jitter_p95_ms),
        jitter_max_ms=finite(timing.jitter_max_ms),
        jitter_iqr_ms=finite(timing.jitter_iqr_ms),
        jitter_sd_ms=finite(timing.jitter_std_dev_ms),
        gap_max_ms=finite(timing.gap_max_ms),
        gaps_150ms=timing.spikes_with_pauses,
        spikes_150ms=timing.spikes_without_pauses,
        owd_min_ms=finite(timing.owd_min_ms),
        owd_p50_ms=finite(timing.owd_p50_ms),
        owd_p95_ms=finite(timing.owd_p95_ms),
        owd_p99_ms=finite(timing.owd_p99_ms),
        owd_error_ms=clock_error_ms if math.isfinite(timing.owd_p50_ms) else None,
    )


def scored(row: Row, live: PlacedCall, heard: Heard, spoken: Pcm | None, codec: Codec, trace: Trace) -> tuple[Row, str]:
    """The row with what the ear and the scorers tell, and why a scorer refused."""
    row = replace(
        row,
        playout_buffer=heard.buffer,
        late_ratio=heard.shares["late_ratio"],
        concealed_ratio=heard.shares["concealed_ratio"],
        mouth_to_ear_ms=finite(heard.mouth_to_ear_mean_ms),
    )
    effective_loss = min(1.0, (row.loss_ratio or 0.0) + (row.late_ratio or 0.0))
    with suppress(NoFactors):
        model = e_model(
            codec.spec,
            loss_ratio=effective_loss,
            mouth_to_ear_ms=row.mouth_to_ear_ms or 0.0,
            burst_ratio=burst_ratio(heard, trace),
        )
        row = replace(row, mos_cqe=model.mos_cqe, r_factor=model.r)
    if spoken is None:
        return row, "scoring with PESQ: the reference is not to be had; give the speech that was said"
    try:
        score = listening_quality(spoken, heard.audio, heard.sample_rate)
        ceiling = _ceiling_mos(codec.spec, live.speech.name, live.plan.seconds)
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


def scored_besides(row: Row, live: PlacedCall, heard: Heard, spoken: Pcm | None, trace: Trace, notes: list[str]) -> Row:
    """The row with the figures of the scorers that the plan names; one that refuses leaves a note."""
    if not live.plan.scorers:
        return row
    evidence = Evidence(
        heard=heard.audio,
        sample_rate=heard.sample_rate,
        reference=spoken,
        codec=row.codec,
        trace=trace,
        loss_ratio=row.loss_ratio,
        late_ratio=row.late_ratio,
        burst_ratio=burst_ratio(heard, trace),
        concealed_ratio=row.concealed_ratio,
        mouth_to_ear_ms=row.mouth_to_ear_ms,
    )
    scores, refused = extra_scores(live.plan.scorers, evidence)
    notes.extend(f"{row.direction}: {why}" for why in refused)
    return replace(row, scores=scores)


def recorded(row: Row, live: PlacedCall, folder: Path, spoken: Pcm | None, codec: Codec, notes: list[str]) -> Row:
    """The row with the score of the phone's own recording, where it made one."""
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


def ended(row: Row, outcome: Outcome, detail: str) -> Row:
    """The row with the call's ending; a failed call has no verdict but that."""
    row = replace(row, outcome=str(outcome), outcome_detail=detail)
    if outcome is not Outcome.COMPLETED:
        row = replace(row, verdict="failed", verdict_reason=detail)
    return row


def _between(marks: Mapping[str, int], begin: str, end: str) -> float | None:
    """Milliseconds between two milestones, None unless both were reached."""
    return (marks[end] - marks[begin]) / 1e6 if begin in marks and end in marks else None


def finite(value: float) -> float | None:
    """The value, None where it is not a number."""
    return float(value) if math.isfinite(value) else None
