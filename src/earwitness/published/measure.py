"""Measures one found call: rows and traces from each end's capture and recording, with every doubt recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from earwitness.archive.schema import Row
from earwitness.errors import EarwitnessError, InputError, Outcome
from earwitness.facts import finite
from earwitness.published.both_ends import light, merged, paired, with_delay
from earwitness.published.calls_csv import CODECS, cities
from earwitness.published.layout import FoundCall, FoundEnd
from earwitness.published.recording import Doubt, Recording, read_recording
from earwitness.trace.capture import Capture, read_capture
from earwitness.trace.jitter import jitter_ms, statistics
from earwitness.trace.model import Trace
from earwitness.trace.problem import ProblemKind
from earwitness.trace.rtcp import round_trips_ms
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.series import quantiles
from earwitness.trace.timing import summarise
from earwitness.utc import utc_text

PHONE_ADDRESS = {"caller": "10.8.0.2", "callee": "10.8.0.1"}
"""Addresses in the study's tunnel: the caller's phone, and the server's side with the callee."""

RTP_PORT = 4000
SPIKE_MS = 150.0
DIRECTION = {"caller": "to_caller", "callee": "to_callee"}
"""What an end receives is the direction to it."""

_PROBLEMS = {
    ProblemKind.EMPTY: "capture empty",
    ProblemKind.TRUNCATED: "capture cut",
    ProblemKind.CORRUPT: "capture cut",
    ProblemKind.STRAY_SSRC: "stray SSRC",
    ProblemKind.NO_RTP: "no RTP in the capture",
}


@dataclass(frozen=True)
class MeasureOptions:
    """How an import measures: paths, and whether to read and compute as the study did."""

    folder: Path
    reference: Path | None
    as_published: bool


@dataclass(frozen=True)
class MeasuredEnd:
    """One end: its row, its trace if packets arrived, and its doubts."""

    row: Row
    trace: Trace | None
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True)
class MeasuredCall:
    """A call with the ends that left files. Picklable, so that it can be measured in another process."""

    call: FoundCall
    ends: tuple[MeasuredEnd, ...]
    started_at: str

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """The doubts of all ends."""
        return tuple(doubt for end in self.ends for doubt in end.doubts)

    @property
    def outcome(self) -> Outcome:
        """Completed if any end is; otherwise the first end's outcome."""
        outcomes = [Outcome(end.row.outcome) for end in self.ends]
        return Outcome.COMPLETED if Outcome.COMPLETED in outcomes else outcomes[0]


@dataclass(frozen=True, eq=False)
class _Seen:
    """An end's capture, with the streams that its phone received and sent, if present."""

    capture: Capture
    received: RtpStream | None
    sent: RtpStream | None


def measure_call(call: FoundCall, options: MeasureOptions) -> MeasuredCall:
    """Read one call's files and measure them; a faulty file becomes a doubt and an outcome, not an error."""
    doubts: dict[str, list[Doubt]] = {end.end: [] for end in call.ends}
    seen = {end.end: _look(call, end, options.folder, doubts[end.end]) for end in call.ends}
    ends = [_measure_end(call, end, seen, options, doubts[end.end]) for end in call.ends]
    started = min((view.capture.started_ns for view in seen.values() if view and view.capture.packets), default=0)
    started_at = utc_text(started) if started else ""
    rows, traces = with_delay([end.row for end in ends], [end.trace for end in ends])
    return MeasuredCall(
        call,
        tuple(
            replace(end, row=replace(row, started_at=started_at), trace=trace)
            for end, row, trace in zip(ends, rows, traces, strict=True)
        ),
        started_at,
    )


def _measure_end(
    call: FoundCall, end: FoundEnd, seen: dict[str, _Seen | None], options: MeasureOptions, doubts: list[Doubt]
) -> MeasuredEnd:
    first, second = cities(call.location) if call.location else ("", "")
    row = Row(
        call_id=call.call_id,
        network="published" if call.published else "imported",
        path={"Tor": "vpn-tor", "Non-Tor": "vpn"}.get(call.status, ""),
        hops={"Tor": 3, "Non-Tor": 0}.get(call.status),
        from_place=first,
        to_place=second,
        phone="published study's" if call.published else "",
        direction=DIRECTION[end.end],
        source_capture=end.capture,
        source_recording=end.recording,
        codec_claimed=CODECS.get(call.codec_claimed, call.codec_claimed),
        iteration=call.iteration,
        reading="as-published" if options.as_published else "",
        speech=options.reference.stem if options.reference else "",
    )
    view, trace = seen[end.end], None
    if view is not None and view.received is not None:
        trace = view.received.trace
        row = _with_timing(row, view.capture, view.received, as_published=options.as_published)
        far = seen.get("callee" if end.end == "caller" else "caller")
        if far is not None and far.sent is not None:
            trace, row = paired(far.sent.trace, trace, row, doubts)
        trace = replace(light(trace), source=end.capture)
        if row.codec_claimed and row.codec != row.codec_claimed:
            found = f"its packets are {row.codec or 'unknown'} (payload type {view.received.payload_type})"
            doubts.append(Doubt("codec not as claimed", end.capture, f"{found}, the folder says {row.codec_claimed}"))
    recording = _open_recording(end, options, doubts)
    row = _with_score(row, recording, options, doubts)
    outcome, detail = _outcome(row, view, recording, doubts)
    row = replace(row, outcome=str(outcome), outcome_detail=detail, doubts="; ".join(map(str, doubts)))
    return MeasuredEnd(row, trace, tuple(doubts))


def _look(call: FoundCall, end: FoundEnd, folder: Path, doubts: list[Doubt]) -> _Seen | None:
    capture = _open_capture(end, folder, doubts)
    if capture is None:
        return None
    if call.published:
        far = PHONE_ADDRESS["callee" if end.end == "caller" else "caller"]
        received, sent = _rtp_from(capture, far), _rtp_from(capture, PHONE_ADDRESS[end.end])
        if capture.streams and received is None:
            doubts.append(Doubt("no RTP from the far end", end.capture, f"none from {far} port {RTP_PORT}"))
        return _Seen(capture, received, sent)
    return _Seen(capture, _received_by_caller(capture, end, doubts), None)


def _rtp_from(capture: Capture, address: str) -> RtpStream | None:
    """The study's stream from an address: the one on its port with the most packets."""
    for stream in capture.sent_by(address):
        if RTP_PORT in (stream.flow.source_port, stream.flow.destination_port):
            return stream
    return None


def _open_capture(end: FoundEnd, folder: Path, doubts: list[Doubt]) -> Capture | None:
    if not end.capture:
        doubts.append(Doubt("capture missing", end.recording, "a recording without a capture"))
        return None
    try:
        capture = read_capture(folder / end.capture, clock=f"capture {end.capture}")
    except InputError as error:
        doubts.append(Doubt("capture unreadable", end.capture, error.happened))
        return None
    for problem in capture.problems:
        kind = _PROBLEMS.get(problem.kind, f"capture {problem.kind.replace('_', ' ')}")
        doubts.append(Doubt(kind, end.capture, problem.detail))
    return capture


def _received_by_caller(capture: Capture, end: FoundEnd, doubts: list[Doubt]) -> RtpStream | None:
    """The stream received by whoever placed the call (SIP), otherwise the one with the most packets."""
    if not capture.streams:
        return None
    caller = next((message.source for message in capture.sip if message.method == "INVITE" and not message.status), "")
    towards = capture.received_by(caller) if caller else ()
    if towards:
        return towards[0]
    detail = "no INVITE shows who called; the stream with the most packets is used"
    doubts.append(Doubt("side unknown", end.capture, detail))
    return capture.streams[0]


def _with_timing(row: Row, capture: Capture, stream: RtpStream, *, as_published: bool) -> Row:
    """The row with the stream's timing; jitter is computed as in the study if `as_published`."""
    trips = round_trips_ms(capture, stream)
    row = replace(
        row.with_timing(summarise(stream.trace, spike_threshold_ms=SPIKE_MS)),
        codec=stream.codec,
        rtcp_rtt_ms=float(np.median(trips)) if len(trips) else None,
    )
    if not as_published:
        return row
    series = np.round(jitter_ms(_all_from(capture, stream), every=True), 3)
    jitter = statistics(series)
    return replace(
        row,
        jitter_mean_ms=finite(jitter.mean_ms),
        jitter_median_ms=finite(jitter.median_ms),
        jitter_p95_ms=finite(quantiles(series, 0.95)[0]),
        jitter_max_ms=finite(jitter.max_ms),
        jitter_range_ms=finite(jitter.range_ms),
        jitter_iqr_ms=finite(jitter.iqr_ms),
        jitter_sd_ms=finite(jitter.std_dev_ms),
    )


def _all_from(capture: Capture, stream: RtpStream) -> Trace:
    """All RTP packets of the stream's flow in order of arrival, including a stray SSRC: what the study's script saw."""
    others = [other.trace for other in capture.streams if other.flow == stream.flow]
    if len(others) == 1:
        return stream.trace
    return merged(others)


def _open_recording(end: FoundEnd, options: MeasureOptions, doubts: list[Doubt]) -> Recording | None:
    if not end.recording:
        doubts.append(Doubt("recording missing", end.capture, "a capture without a recording"))
        return None
    try:
        recording = read_recording(options.folder / end.recording, end.recording, as_published=options.as_published)
    except InputError as error:
        doubts.append(Doubt("recording unreadable", end.recording, error.happened))
        return None
    doubts.extend(recording.doubts)
    return recording


@lru_cache(maxsize=4)
def _reference(path: Path, as_published: bool) -> Recording:
    """The reference speech, read once per process."""
    return read_recording(path, path.name, as_published=as_published)


def _with_score(row: Row, recording: Recording | None, options: MeasureOptions, doubts: list[Doubt]) -> Row:
    """The row with PESQ, if there is a recording and a reference."""
    from earwitness.score.pesq import pesq_nb

    if recording is None or not len(recording.samples) or options.reference is None:
        return row
    reference = _reference(options.reference, options.as_published)
    if reference.sample_rate != recording.sample_rate:
        detail = f"{recording.sample_rate} Hz, the reference {reference.sample_rate} Hz"
        doubts.append(Doubt("not scored", row.source_recording, detail))
        return row
    try:
        score = pesq_nb(reference.samples, recording.samples, recording.sample_rate)
    except EarwitnessError as error:
        doubts.append(Doubt("not scored", row.source_recording, error.happened))
        return row
    return replace(row, pesq_raw=score.raw, mos_lqo=score.mos_lqo)


def _outcome(row: Row, view: _Seen | None, recording: Recording | None, doubts: Sequence[Doubt]) -> tuple[Outcome, str]:
    """The outcome of this end, judged from its files, and the doubts that explain it."""
    reasons = "; ".join(map(str, doubts))
    if view is not None and not view.capture.packets:
        return Outcome.CAPTURE_EMPTY, reasons
    if view is not None and view.received is None:
        return (Outcome.ONE_WAY_MEDIA if view.capture.streams else Outcome.NO_MEDIA), reasons
    if recording is not None and row.mos_lqo is None:
        return Outcome.SCORER_REFUSED, reasons or "no reference speech to score against"
    if view is None and row.mos_lqo is None:
        return Outcome.CAPTURE_EMPTY, reasons
    return Outcome.COMPLETED, ""
