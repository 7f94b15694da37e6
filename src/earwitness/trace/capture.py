"""A capture file read whole: its RTP streams, its SIP, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earwitness.trace.container import read_pieces, read_whole
from earwitness.trace.gather import gather, sip_among
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import Records
from earwitness.trace.rtp import RtpHeaders, parse_headers
from earwitness.trace.sdp import (
    MOST_MESSAGE_BYTES,
    Encoding,
    MediaDescription,
    SdpReader,
    SipMessage,
    looks_like_sip,
    parse_sip,
)
from earwitness.trace.streams import RtpStream, StreamOptions, find_streams
from earwitness.trace.tally import Tally

_MAX_SIP = 20_000
"""No capture of calls has more signalling that matters to its codecs."""
_MAX_SIP_BYTES = 16 * 2**20
"""Of all messages: reading more would take seconds."""


@dataclass(frozen=True, eq=False)
class Capture:
    """What a capture file holds.

    - `streams`: RTP streams, the one with the most packets first.
    - `sip`: SIP messages over UDP in order; `sdp`: the audio descriptions in them, in order.
    - `problems`: everything that was left out or doubtful; empty for a sound capture.
    - `packets`: packets in the file; `started_ns`, `ended_ns`: first and last time among them (0 where none).
    - `clock`: the name of the clock that `arrived_ns` in the traces was read from.
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
        """The audio descriptions of all SIP messages."""
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
    resume: bool = False,
) -> Capture:
    """Read a pcap or pcapng file.

    `clock` names the clock of the capture's times: two captures may be given the same name only where one clock
    stamped both; by default the name is the file's own. `ports`, `ssrc`, `payload_types`, `clock_rate`: see
    `StreamOptions`. `resume` reads on after damage in a pcap (see `parse_records`).
    Raises `InputError` where the file cannot be read or is no capture; damage inside becomes `problems`.
    """
    options = StreamOptions(ports, ssrc, payload_types or {}, clock_rate)
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
    """As `read_capture`, of a file given as its bytes."""
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
    sip, left_out = _sip(found, headers)
    streams, more = find_streams(found, headers, sip, options=options, clock=name, source=source)
    problems = [*tally.problems(), *found.problems, *left_out, *more]
    if held.packets and not streams:
        problems.append(CaptureProblem(ProblemKind.NO_RTP, f"{held.packets} packets and no RTP stream"))
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


def _sip(found: Datagrams, headers: RtpHeaders) -> tuple[list[SipMessage], list[CaptureProblem]]:
    """The SIP messages among the datagrams that are not RTP, and what was left out of them."""
    rows = np.flatnonzero(~headers.looks_right & (found.captured >= 8))
    rows = rows[sip_among(found.data, found.start[rows], found.captured[rows])]
    messages: list[SipMessage] = []
    sections = SdpReader()
    read = 0
    for i, row in enumerate(rows.tolist()):
        if len(messages) == _MAX_SIP or read > _MAX_SIP_BYTES:
            detail = f"{len(rows) - i} SIP messages after the first {len(messages)}; left out"
            return messages, [CaptureProblem(ProblemKind.UNSUPPORTED, detail), *sections.problems()]
        begin, kept = int(found.start[row]), int(found.captured[row])
        payload = found.data[begin : begin + min(kept, MOST_MESSAGE_BYTES)].tobytes()
        if looks_like_sip(payload):
            read += len(payload)
            flow = found.flows[int(found.flow[row])]
            cut = len(payload) < int(found.length[row])
            message = parse_sip(payload, int(found.time_ns[row]), flow.source, flow.destination, cut, sections.read)
            messages.append(message)
    return messages, sections.problems()
