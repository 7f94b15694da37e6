"""A capture file read whole: its RTP streams, its SIP, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earwitness.trace.bytewindow import window
from earwitness.trace.link import Datagrams, datagrams
from earwitness.trace.pcap import parse_records, read_records
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import Records
from earwitness.trace.rtp import RtpHeaders, parse_headers
from earwitness.trace.sdp import Encoding, Media, SipMessage, looks_like_sip, parse_sip
from earwitness.trace.streams import Stream, StreamOptions, find_streams

_SIP_BEGINNINGS = np.array(
    sorted(
        int.from_bytes(word, "little")
        for word in (b"SIP/", b"INVI", b"ACK ", b"BYE ", b"CANC", b"REGI", b"OPTI", b"PRAC", b"SUBS", b"NOTI",
                     b"PUBL", b"INFO", b"REFE", b"MESS", b"UPDA")
    ),
    dtype="<u4",
)  # fmt: skip
_MAX_SIP = 20_000
"""No capture of calls has more signalling that matters to its codecs."""


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
    streams: tuple[Stream, ...]
    sip: tuple[SipMessage, ...]
    problems: tuple[CaptureProblem, ...]
    udp: Datagrams = field(repr=False)

    @property
    def sdp(self) -> tuple[Media, ...]:
        """The audio descriptions of all SIP messages."""
        return tuple(section for message in self.sip for section in message.media)

    def sent_by(self, address: str) -> tuple[Stream, ...]:
        """The streams from this address, the one with the most packets first."""
        return tuple(stream for stream in self.streams if stream.flow.source == address)

    def received_by(self, address: str) -> tuple[Stream, ...]:
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
    return _capture(read_records(path, resume=resume), str(path), clock, options)


def parse_capture(
    data: bytes,
    name: str = "capture",
    *,
    clock: str | None = None,
    options: StreamOptions | None = None,
    resume: bool = False,
) -> Capture:
    """As `read_capture`, of a file given as its bytes."""
    records = parse_records(np.frombuffer(data, dtype=np.uint8), name, resume=resume)
    return _capture(records, name, clock, options or StreamOptions())


def _capture(records: Records, source: str, clock: str | None, options: StreamOptions) -> Capture:
    name = clock or f"capture:{source}"
    found = datagrams(records)
    headers = parse_headers(found.data, found.start, found.captured, found.length)
    sip = _sip(found, headers)
    streams, more = find_streams(found, headers, sip, options=options, clock=name, source=source)
    problems = [*records.problems, *found.problems, *more]
    if len(records) and not streams:
        problems.append(CaptureProblem(ProblemKind.NO_RTP, f"{len(records)} packets and no RTP stream"))
    return Capture(
        source=source,
        format=records.format,
        link_types=records.link_types,
        resolution_ns=records.resolution_ns,
        packets=len(records),
        started_ns=int(records.time_ns.min()) if len(records) else 0,
        ended_ns=int(records.time_ns.max()) if len(records) else 0,
        clock=name,
        streams=streams,
        sip=tuple(sip),
        problems=tuple(problems),
        udp=found,
    )


def _sip(found: Datagrams, headers: RtpHeaders) -> Sequence[SipMessage]:
    """The SIP messages among the datagrams that are not RTP."""
    rows = np.flatnonzero(~headers.looks_right & (found.captured >= 8))
    if not len(rows):
        return []
    beginning = window(found.data, found.start[rows], 4).view("<u4")[:, 0]
    messages: list[SipMessage] = []
    for row in rows[np.isin(beginning, _SIP_BEGINNINGS)].tolist():
        begin, kept = int(found.start[row]), int(found.captured[row])
        payload = found.data[begin : begin + kept].tobytes()
        if looks_like_sip(payload):
            flow = found.flows[int(found.flow[row])]
            cut = kept < int(found.length[row])
            messages.append(parse_sip(payload, int(found.time_ns[row]), flow.source, flow.destination, cut))
            if len(messages) == _MAX_SIP:
                break
    return messages
