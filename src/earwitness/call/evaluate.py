"""From a placed call's captures to its record: traces, heard audio, scores and rows. No network, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from earwitness.archive.facts import Rendering
from earwitness.archive.layout import (
    CAPTURES,
    DIRECTIONS,
    LISTENER,
    REFERENCE,
    SPEAKER,
    heard_file,
    trace_file,
)
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.archive.stored import write_ledger
from earwitness.arrays import Pcm
from earwitness.call.clocks import one_clock
from earwitness.call.compose import compose
from earwitness.call.defaults import DEFAULT_BUFFER
from earwitness.call.placed_call import PlacedCall
from earwitness.call.rows import blank_row, with_extra_scores, with_quality, with_recording, with_timing
from earwitness.ear import Heard, hear
from earwitness.ear.offering import offer_of
from earwitness.errors import EarwitnessError, InputError, Outcome
from earwitness.facts import finite
from earwitness.score.find import around_reference
from earwitness.score.played import rate_played
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.codecs.registry import codec_offered
from earwitness.speech.reference import speech as reference_speech
from earwitness.speech.wav import resample, write_wav
from earwitness.trace.capture import Capture, read_capture
from earwitness.trace.model import LOST, Trace
from earwitness.trace.pair import pair
from earwitness.trace.table import write_trace


def ready() -> None:
    """Do nothing; calling it in a worker process loads this module, and with it what hearing and scoring need."""


def evaluate(placed: PlacedCall, folder: Path) -> CallRecord:
    """Hear and score both directions of a placed call; writes traces, audio and ledgers into its folder.

    Everything that can be measured is measured, also for a failed call. An outcome of `completed` becomes a failure
    if a capture is empty or a scorer refuses. Raises only `OSError`, for a folder that cannot be written.
    """
    notes = list(placed.record.notes)
    captures = {end: _capture(folder / name, placed.clocks[end], notes) for end, name in CAPTURES.items()}
    found = {direction: _trace(placed, direction, captures, notes) for direction in DIRECTIONS}
    timed_on = one_clock(placed, {name: trace for name, trace in found.items() if trace is not None}, notes)
    rows: list[Row] = []
    listening: dict[str, Rendering] = {}
    outcome, detail = placed.record.outcome, placed.record.outcome_detail
    codecs = {direction: _codec(placed, direction, captures) for direction in DIRECTIONS}
    # In reverse order, so that the reference in the call's folder has the sample rate of the first direction.
    spoken = {direction: _spoken(placed, codecs[direction][0], folder) for direction in reversed(DIRECTIONS)}
    for direction in DIRECTIONS:
        codec, unknown = codecs[direction]
        row = replace(blank_row(placed, direction, timed_on.milestones), codec="" if unknown else codec.spec)
        trace = timed_on.traces.get(direction)
        if trace is not None and len(trace):
            write_trace(trace, folder / trace_file(direction))
            row = with_timing(row, placed, trace, timed_on.error_ms)
            heard, trouble = (None, unknown) if unknown else _hear(placed, trace, codec)
            if heard is not None:
                notes += [f"{direction}: {note}" for note in heard.notes]
                write_wav(folder / heard_file(direction), heard.audio, heard.sample_rate)
                write_ledger(folder, direction, heard.ledger)
                listening[direction] = _listening(heard, trace)
                said = spoken[direction]
                if said is not None:
                    said = resample(said, codec.sample_rate, heard.sample_rate)
                if placed.plan.phone_kind.by_hand:
                    heard, listening[direction] = _found(heard, listening[direction], said)
                sent = heard.played.frames.as_sent(codec)
                if sent != codec:
                    notes.append(f"{direction}: sent in packets of {sent.packet_ms:g} ms, not {codec.packet_ms:g}")
                    row = replace(row, codec=sent.spec)
                rated = rate_played(heard, sent)
                row, trouble = with_quality(row, placed, heard, said, sent, rated)
                row = with_extra_scores(row, placed, heard, said, rated, trace, notes)
            row = with_recording(row, placed, folder, spoken[direction], codec, notes)
            if trouble and outcome is Outcome.COMPLETED:
                outcome, detail = Outcome.SCORER_REFUSED, trouble
        elif outcome is Outcome.COMPLETED:
            outcome = Outcome.CAPTURE_EMPTY
            detail = (
                f"reading the media {direction.replace('_', ' ')} from {folder.name}: no packet of it was captured;"
                " check that the captured interface carries the path"
            )
        rows.append(row)
    return compose(placed, timed_on, codecs[DIRECTIONS[0]][0].spec, rows, outcome, detail, listening, notes)


def _spoken(placed: PlacedCall, codec: Codec, folder: Path) -> Pcm | None:
    """The reference at the codec's rate, also written into the call's folder; None if there is no such speech."""
    try:
        said = reference_speech(placed.record.speech.name or placed.plan.speech, codec.sample_rate, placed.plan.seconds)
    except InputError:
        return None
    write_wav(folder / REFERENCE, said.samples, said.sample_rate)
    return said.samples


def _codec(placed: PlacedCall, direction: str, captures: Mapping[str, Capture | None]) -> tuple[Codec, str]:
    """The codec of the direction: the planned one, or for a call by hand the one found in the capture.

    A capture does not give the rate at which to decode Opus, so the planned codec's is used. If the capture holds
    nothing that can be decoded: the planned codec, and why nothing can be heard.
    """
    planned = codec_of(placed.record.codec)
    if not placed.plan.phone_kind.by_hand:
        return planned, ""
    sent_at, heard_at = captures[SPEAKER[direction]], captures[LISTENER[direction]]
    streams = sent_at.sent_by(placed.party(SPEAKER[direction]).address) if sent_at else ()
    if not streams and heard_at:
        streams = heard_at.received_by(placed.party(LISTENER[direction]).address)
    if not streams:
        return planned, ""
    one = streams[0]
    offer = offer_of(one.trace, one.payload_type, one.encoding, readable=not one.encryption.certain)
    rate = planned.sample_rate if offer.encoding_name.lower() == planned.encoding_name.lower() else None
    try:
        found = codec_offered(replace(offer, sample_rate=rate))
    except InputError as error:
        return planned, str(error)
    return found, ""


def _found(heard: Heard, listening: Rendering, spoken: Pcm | None) -> tuple[Heard, Rendering]:
    """The part of the recording that contains the speech, which a person may start at any time, and its position."""
    if spoken is None:
        return heard, listening
    part, at = around_reference(spoken, heard.audio, heard.sample_rate)
    return replace(heard, audio=part), replace(listening, reference_at_ms=at * 1000.0 / heard.sample_rate)


def _capture(path: Path, clock: str, notes: list[str]) -> Capture | None:
    if not path.exists():
        return None
    try:
        capture = read_capture(path, clock=clock)
    except EarwitnessError as error:
        notes.append(str(error))
        return None
    notes.extend(f"{path.name}: {problem}" for problem in capture.problems)
    return capture


def _trace(
    placed: PlacedCall, direction: str, captures: Mapping[str, Capture | None], notes: list[str]
) -> Trace | None:
    """The packets sent and received, joined; from the sender's capture alone if nothing arrived.

    If the speaker's capture was lost with its machine, the listener's capture alone: sending times are then unknown.
    """
    sent_at, heard_at = captures[SPEAKER[direction]], captures[LISTENER[direction]]
    if heard_at is not None and sent_at is None:
        alone_heard = heard_at.received_by(placed.party(LISTENER[direction]).address)
        return alone_heard[0].trace if alone_heard else None
    if sent_at is None or heard_at is None:
        return None
    sent = sent_at.sent_by(placed.party(SPEAKER[direction]).address)
    heard = heard_at.received_by(placed.party(LISTENER[direction]).address)
    if not sent:
        return None
    if not heard:
        alone = sent[0].trace
        return replace(
            alone,
            sent_ns=alone.arrived_ns,
            arrived_ns=np.full(len(alone), LOST),
            sent_clock=alone.arrived_clock,
        )
    for what, streams in (("sent", sent), ("received", heard)):
        if len(streams) > 1:
            notes.append(f"{direction}: {len(streams)} streams were {what}; the one with most packets is used")
    try:
        both = pair(sent[0].trace, heard[0].trace)
    except InputError as error:
        notes.append(str(error))
        return None
    if placed.plan.phone_kind.by_hand and placed.record.outcome is Outcome.COMPLETED:
        return _without_what_was_on_the_way(both, direction, notes)
    return both


def _without_what_was_on_the_way(trace: Trace, direction: str, notes: list[str]) -> Trace:
    """The trace without packets sent after the last arrival: the user may stop the capture while the phones talk."""
    if not bool(np.any(trace.arrived)):
        return trace
    known = trace.sequence <= trace.sequence[trace.arrived].max()
    if not bool(np.all(known)):
        left = int(np.count_nonzero(~known))
        notes.append(f"{direction}: {left} packets sent after the last that arrived are not counted")
    return trace.take(known)


def _hear(placed: PlacedCall, trace: Trace, codec: Codec) -> tuple[Heard | None, str]:
    """The audio that a phone would have played, or why there is none."""
    if not bool(np.any(trace.arrived)):
        return None, ""
    try:
        heard = hear(
            trace,
            codec,
            placed.plan.buffer or DEFAULT_BUFFER,
            concealment=placed.plan.concealment or None,
            seed=placed.plan.seed,
        )
    except EarwitnessError as error:
        return None, str(error)
    return heard, ""


def _listening(heard: Heard, trace: Trace) -> Rendering:
    """How the audio was rendered, and where the reference begins in it."""
    frames = heard.ledger
    played = frames[frames["audio_ms"].notna() & frames["timestamp"].notna() & (frames["packet"] >= 0)]
    reference_at_ms = None
    if len(played):
        first = played.iloc[0]
        ticks = int(first["timestamp"]) - int(trace.timestamp.min())
        reference_at_ms = float(first["audio_ms"]) - ticks * 1000.0 / trace.clock_rate
    return Rendering(
        origin_ns=heard.origin_ns,
        reference_at_ms=reference_at_ms,
        buffer=heard.buffer,
        concealment=heard.concealment,
        playout_delay_mean_ms=finite(heard.playout_delay_mean_ms),
        shares=heard.shares,
    )
