"""A whole capture file: its RTP streams, its SIP messages, and the problems found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earwitness.trace.clock_back import forward_only
from earwitness.trace.container import read_pieces, read_whole
from earwitness.trace.encoding import Encoding
from earwitness.trace.gather import gather, sip_among
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import Records
from earwitness.trace.rtp import RtpHeaders, parse_headers
from earwitness.trace.rtp_stream import RtpStream, StreamOptions
from earwitness.trace.sdp import (
    MOST_MESSAGE_BYTES,
    MediaDescription,
    SipMessage,
    SipReader,
)
from earwitness.trace.srtp_keys import SrtpKey
from earwitness.trace.streams import find_streams
from earwitness.trace.tally import Tally

_MOST_NAMED = 4
_MAX_SIP = 20_000
"""SIP messages read per capture; no capture of calls needs more to identify its codecs."""
_MAX_SIP_BYTES = 16 * 2**20
"""Bytes of SIP read per capture: reading more would take seconds."""


@dataclass(frozen=True, eq=False)
class Capture:
    """The contents of a capture file.

    - `streams`: RTP streams, the one with the most packets first.
    - `sip`: SIP messages over UDP and TCP, in order; `sdp`: the media descriptions in them, in order.
    - `udp`: the datagrams, those in carriers and TCP streams among them.
    - `problems`: everything skipped or doubtful; empty for an undamaged capture.
    - `packets`: packets in the file; `started_ns`, `ended_ns`: their first and last time (0 if there are none).
    - `clock`: the name of the clock that stamped `arrived_ns` in the traces.
    """

    source: str
    format: str
    link_types: tuple[int, ...]
    resolution_ns: float
    packets: int
    started_ns: int
    ended_ns: int
    clock: str
    streams: tuple[RtpStream, ...]
    sip: tuple[SipMessage, ...]
    problems: tuple[CaptureProblem, ...]
    udp: Datagrams = field(repr=False)

    @property
    def sdp(self) -> tuple[MediaDescription, ...]:
        """The audio and video descriptions of all SIP messages."""
        return tuple(section for message in self.sip for section in message.media)

    def sent_by(self, address: str) -> tuple[RtpStream, ...]:
        """The streams from this address, the one with the most packets first."""
        return tuple(stream for stream in self.streams if stream.flow.source == address)

    def received_by(self, address: str) -> tuple[RtpStream, ...]:
        """The streams to this address, the one with the most packets first."""
        return tuple(stream for stream in self.streams if stream.flow.destination == address)


def read_capture(
    path: str | Path,
    *,
    clock: str | None = None,
    ports: Collection[int] = (),
    ssrc: int | None = None,
    payload_types: Mapping[int, Encoding] | None = None,
    clock_rate: int | None = None,
    srtp_keys: Sequence[SrtpKey] = (),
    resume: bool = False,
) -> Capture:
    """Read a pcap or pcapng file.

    `clock` names the clock of the capture's times (default: a name unique to the file). Give two captures the same name
    only if one clock stamped both. `ports`, `ssrc`, `payload_types`, `clock_rate`, `srtp_keys`: see
    `StreamOptions`. `resume` reads on after damage in a pcap (see `parse_records`).
    Raises `InputError` if the file cannot be read or is not a capture, or if a key is given and the extra `srtp` is
    missing; damage inside it becomes `problems`.
    """
    options = StreamOptions(ports, ssrc, payload_types or {}, clock_rate, srtp_keys)
    tally = Tally()
    return _capture(read_pieces(path, tally, resume=resume), tally, str(path), clock, options)


def parse_capture(
    data: bytes,
    name: str = "capture",
    *,
    clock: str | None = None,
    options: StreamOptions | None = None,
    resume: bool = False,
) -> Capture:
    """As `read_capture`, for a file given as bytes."""
    tally = Tally()
    pieces = read_whole(np.frombuffer(data, dtype=np.uint8), name, tally, resume=resume)
    return _capture(pieces, tally, name, clock, options or StreamOptions())


def _capture(
    pieces: Iterator[Records], tally: Tally, source: str, clock: str | None, options: StreamOptions
) -> Capture:
    name = clock or f"capture:{source}"
    held = gather(pieces, source)
    found = held.udp
    headers = parse_headers(found.data, found.start, found.captured, found.length)
    found, clock_back = forward_only(found, headers)
    sip, left_out = _sip(found, headers)
    streams, more = find_streams(found, headers, sip, options=options, clock=name, source=source, clock_back=clock_back)
    problems = [*tally.problems(), *found.problems, *left_out, *more]
    if held.packets and not streams:
        detail = f"{held.packets} packets but no RTP stream{_instead(held.contents, found, len(sip))}"
        problems.append(CaptureProblem(ProblemKind.NO_RTP, detail))
    return Capture(
        source=source,
        format=held.format,
        link_types=held.link_types,
        resolution_ns=held.resolution_ns,
        packets=held.packets,
        started_ns=held.started_ns,
        ended_ns=held.ended_ns,
        clock=name,
        streams=streams,
        sip=tuple(sip),
        problems=tuple(problems),
        udp=found,
    )


def _instead(contents: Counter[str], found: Datagrams, messages: int) -> str:
    """What a capture without RTP holds instead: the most frequent carriers and protocols, and UDP's ports."""
    named = []
    for name, count in contents.most_common(_MOST_NAMED):
        if name == "UDP" and len(found):
            ports = Counter({flow: int(n) for flow, n in enumerate(np.bincount(found.flow)) if n})
            most = [found.flows[flow].destination_port for flow, _ in ports.most_common(_MOST_NAMED)]
            name += f" (to port {', '.join(map(str, dict.fromkeys(most)))})"
        named.append(f"{count} of {name}")
    if len(contents) > _MOST_NAMED:
        named.append("and more")
    if messages:
        named.append(f"with {messages} SIP messages")
    return f"; there are {', '.join(named)}" if named else ""


def _sip(found: Datagrams, headers: RtpHeaders) -> tuple[list[SipMessage], list[CaptureProblem]]:
    """The SIP messages among the datagrams that are not RTP, and what was skipped."""
    rows = np.flatnonzero(~headers.looks_right & (found.captured >= 8))
    rows = rows[sip_among(found.data, found.start[rows], found.captured[rows])]
    messages: list[SipMessage] = []
    reader = SipReader()
    read = 0
    columns = (
        column[rows].tolist() for column in (found.start, found.captured, found.length, found.time_ns, found.flow)
    )
    for i, (begin, kept, length, time_ns, flow) in enumerate(zip(*columns, strict=True)):
        if len(messages) == _MAX_SIP or read > _MAX_SIP_BYTES:
            detail = f"{len(rows) - i} SIP messages after the first {len(messages)}; skipped"
            return messages, [CaptureProblem(ProblemKind.UNSUPPORTED, detail), *reader.problems()]
        payload = found.data[begin : begin + min(kept, MOST_MESSAGE_BYTES)].tobytes()
        ends = found.flows[flow]
        message = reader.message(payload, time_ns, ends.source, ends.destination, len(payload) < length)
        if message is not None:
            read += len(payload)
            messages.append(message)
    return messages, reader.problems()
