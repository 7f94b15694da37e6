"""Finds RTP streams among UDP datagrams: by header form, by SDP, or by the caller's options."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64
from earwitness.trace.bytewindow import codes
from earwitness.trace.encoding import Encoding
from earwitness.trace.extend import extend, extend_sequence
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.model import UNKNOWN, Payloads, Trace
from earwitness.trace.payload_types import CLOCK_RATES, GUESSED, STATIC, codec_name, main_payload_type
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.rtp import RtpHeaders
from earwitness.trace.sdp import MediaDescription, SipMessage

MAX_STREAMS = 256
"""Streams returned per capture; the rest are counted but skipped."""
MOST_SOURCES = 16_384
"""SSRCs per flow examined; random data that looks like RTP can have a new SSRC in every packet."""
_MIN_PACKETS = 3
_NEAR = 16
"""Steps of the sequence number that count as consecutive packets of one stream."""


@dataclass(frozen=True)
class StreamOptions:
    """Facts from the user that override the capture.

    `ports`: only flows from or to these UDP ports, accepting everything there that looks like RTP. `ssrc`: only this
    one. `payload_types`: meanings of payload type numbers, overriding SDP and static assignments. `clock_rate`: of
    every stream, Hz.
    """

    ports: Collection[int] = ()
    ssrc: int | None = None
    payload_types: Mapping[int, Encoding] = field(default_factory=dict)
    clock_rate: int | None = None


@dataclass(frozen=True, eq=False)
class RtpStream:
    """One RTP stream of a capture: packets of one SSRC on one flow.

    `trace.arrived_ns` is when the capture saw each packet. `codec` is Earwitness's name for it (`g711u`, `gsm` ...),
    empty if unknown; `codec_from` is the source of that knowledge: `option`, `sdp`, `static`, `guessed`, or `unknown`.
    """

    trace: Trace
    flow: Flow
    payload_type: int
    codec: str
    encoding: Encoding
    codec_from: str

    @property
    def ssrc(self) -> int:
        """Synchronisation source (RFC 3550 3)."""
        return self.trace.ssrc

    def __str__(self) -> str:
        return (
            f"{self.flow} ssrc 0x{self.ssrc:08x} {self.codec or '?'} (pt {self.payload_type}) {len(self.trace)} packets"
        )


def find_streams(
    found: Datagrams,
    headers: RtpHeaders,
    sip: Sequence[SipMessage],
    *,
    options: StreamOptions,
    clock: str,
    source: str,
) -> tuple[tuple[RtpStream, ...], list[CaptureProblem]]:
    """The RTP streams among datagrams, the one with the most packets first. Never raises."""
    media = _distinct(section for message in sip for section in message.media)
    rows = np.flatnonzero(headers.looks_right)
    if options.ssrc is not None:
        rows = rows[headers.ssrc[rows] == options.ssrc]
    if options.ports:
        chosen = [flow.source_port in options.ports or flow.destination_port in options.ports for flow in found.flows]
        rows = rows[np.array(chosen, dtype=bool)[found.flow[rows]]] if chosen else rows
    number, distinct = codes((found.flow[rows].astype(np.int64) << 32) | headers.ssrc[rows])
    problems: list[CaptureProblem] = []
    count = len(distinct)
    if count > MOST_SOURCES:
        detail = f"{count} sources of RTP-like packets; only the {MOST_SOURCES} with the most packets are examined"
        problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
        rows, number, count = _with_most(rows, number)
    groups = _groups(number, count)

    announced_ports = {section.port for section in media}
    announced = [bool(options.ports) or flow.destination_port in announced_ports for flow in found.flows]
    accepted: dict[int, list[I64]] = {}
    others: dict[int, list[I64]] = {}
    for group in groups:
        members = rows[group]
        flow = int(found.flow[members[0]])
        sound = announced[flow] or _is_continuous(headers.sequence[members].astype(np.int64))
        (accepted if sound else others).setdefault(flow, []).append(members)

    for flow, members_list in others.items():
        if flow in accepted:
            accepted[flow].extend(members_list)
    for flow, members_list in accepted.items():
        members_list.sort(key=len, reverse=True)
        if len(members_list) > 1:
            strays = sum(len(members) for members in members_list[1:])
            detail = (
                f"{found.flows[flow]}: {len(members_list) - 1} more SSRCs with {strays} packets"
                f" besides the {len(members_list[0])} of 0x{int(headers.ssrc[members_list[0][0]]):08x}"
            )
            problems.append(CaptureProblem(ProblemKind.STRAY_SSRC, detail))
    ordered = sorted((m for members_list in accepted.values() for m in members_list), key=len, reverse=True)
    if len(ordered) > MAX_STREAMS:
        detail = f"{len(ordered)} RTP streams; only the {MAX_STREAMS} with the most packets are read"
        problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
    build = (_stream(found, headers, members, media, options, clock, source) for members in ordered[:MAX_STREAMS])
    return tuple(build), problems


def _with_most(rows: I64, number: NDArray[np.int32]) -> tuple[I64, NDArray[np.int32], int]:
    """Only the rows of the `MOST_SOURCES` groups with the most packets, renumbered."""
    most = np.sort(np.argsort(-np.bincount(number), kind="stable")[:MOST_SOURCES])
    renumbered = np.full(int(number.max()) + 1, -1, dtype=np.int32)
    renumbered[most] = np.arange(len(most), dtype=np.int32)
    keep = renumbered[number] >= 0
    return rows[keep], renumbered[number[keep]], len(most)


def _groups(number: np.ndarray, count: int) -> list[I64]:
    """The rows of each of `count` groups, in order."""
    if count <= 8:
        return [np.flatnonzero(number == group) for group in range(count)]
    order = np.argsort(number, kind="stable")
    return np.split(order, np.searchsorted(number[order], np.arange(1, count)))


def _distinct(sections: Iterable[MediaDescription]) -> list[MediaDescription]:
    """The distinct sections, in order: a call repeats its SDP, and a flood of SDP must stay cheap."""
    seen: dict[object, MediaDescription] = {}
    for section in sections:
        where = (section.address, section.port, section.payload_types, section.profile, section.crypto)
        seen.setdefault((where, tuple(section.encodings.items())), section)
        if len(seen) == MAX_STREAMS:
            break
    return list(seen.values())


def _is_continuous(sequence: I64) -> bool:
    """Whether sequence numbers mostly advance in small steps, as in RTP, unlike random data that looks like RTP."""
    if len(sequence) < _MIN_PACKETS:
        return False
    step = (sequence[1:] - sequence[:-1]) & 0xFFFF
    return bool(np.count_nonzero((step > 0) & (step <= _NEAR)) * 2 >= len(step))


def _stream(
    found: Datagrams,
    headers: RtpHeaders,
    members: I64,
    media: Sequence[MediaDescription],
    options: StreamOptions,
    clock: str,
    source: str,
) -> RtpStream:
    """Build one stream."""
    notes: list[str] = []
    times = found.time_ns[members]
    if len(times) > 1 and (times[1:] < times[:-1]).any():
        members = members[np.argsort(times, kind="stable")]
        times = found.time_ns[members]
        notes.append("the capture's packets were not in time order; sorted")
    timestamp = extend(headers.timestamp[members], 32)
    flow = found.flows[int(found.flow[members[0]])]
    payload_type = headers.payload_type[members]
    main = main_payload_type(payload_type)
    encoding, codec_from = _encoding(main, flow, media, options)
    clock_rate, clock_notes = _clock_rate(main, encoding, codec_from, options, timestamp, times)
    if codec_from == "guessed" and encoding is not None and clock_rate != encoding.clock_rate:
        encoding, codec_from = None, "unknown"
    known = encoding or Encoding("", clock_rate)
    formats = {main: known}
    for number in np.flatnonzero(np.bincount(payload_type, minlength=128)).tolist():
        meaning, _ = _encoding(number, flow, media, options)
        if number != main and meaning is not None:
            formats[number] = meaning
    size = headers.payload_size[members]
    at = headers.payload_at[members]
    trace = Trace(
        sequence=extend_sequence(headers.sequence[members].astype(np.int64)),
        timestamp=timestamp,
        payload_type=payload_type,
        marker=headers.marker[members],
        size=size,
        sent_ns=np.full(len(members), UNKNOWN, dtype=np.int64),
        arrived_ns=times,
        clock_rate=clock_rate,
        ssrc=int(headers.ssrc[members[0]]),
        arrived_clock=clock,
        payloads=Payloads(
            found.data, found.start[members] + at, np.clip(found.captured[members] - at, 0, size).astype(np.int32)
        ),
        source=source,
        notes=(*notes, *clock_notes),
        formats=formats,
    )
    return RtpStream(trace, flow, main, codec_name(known), known, codec_from)


def _encoding(
    payload_type: int, flow: Flow, media: Sequence[MediaDescription], options: StreamOptions
) -> tuple[Encoding | None, str]:
    """The meaning of a payload type on a flow, and how it is known."""
    if payload_type in options.payload_types:
        return options.payload_types[payload_type], "option"
    # The receiver chooses the number (RFC 3264 5.1), so its SDP takes precedence.
    by_nearness = sorted(
        (section for section in media if payload_type in section.encodings),
        key=lambda s: (s.port != flow.destination_port, s.address != flow.destination, s.port != flow.source_port),
    )
    if by_nearness:
        return by_nearness[0].encodings[payload_type], "sdp"
    if payload_type in STATIC:
        return STATIC[payload_type], "static"
    if payload_type in GUESSED:
        return GUESSED[payload_type], "guessed"
    return None, "unknown"


def _clock_rate(
    payload_type: int,
    encoding: Encoding | None,
    codec_from: str,
    options: StreamOptions,
    timestamp: I64,
    times: I64,
) -> tuple[int, list[str]]:
    """The RTP clock in Hz, and notes on how it was determined."""
    if options.clock_rate is not None:
        return options.clock_rate, [f"RTP clock {options.clock_rate} Hz set by option"]
    if encoding is not None and codec_from != "guessed":
        return encoding.clock_rate, []
    measured = _measured_rate(timestamp, times)
    if encoding is not None and (measured is None or _near(measured, encoding.clock_rate)):
        how = "unconfirmed: stream too short to measure" if measured is None else "its timestamps agree"
        guess = f"payload type {payload_type} guessed to be {encoding.name}/{encoding.clock_rate} ({how})"
        return encoding.clock_rate, [guess]
    nearest = None if measured is None else min(CLOCK_RATES, key=lambda rate: abs(math.log(measured / rate)))
    if nearest is not None and measured is not None and _near(measured, nearest):
        return nearest, [f"payload type {payload_type} unknown; RTP clock {nearest} Hz measured from its timestamps"]
    return 8000, [f"payload type {payload_type} unknown; RTP clock guessed to be 8000 Hz"]


def _near(measured: float, rate: int) -> bool:
    """Whether a measured clock matches this rate. Delay distorts a short call, but the rates are factors apart."""
    return abs(math.log(measured / rate)) < 0.25


def _measured_rate(timestamp: I64, times: I64) -> float | None:
    """The timestamps' advance over the arrival times, Hz; None if the stream is too short to measure."""
    seconds = float(times[-1] - times[0]) / 1e9
    ticks = float(timestamp[-1] - timestamp[0])
    return ticks / seconds if seconds >= 1.0 and ticks > 0 else None
