"""Timing of what one side of a call received, from a capture: the output of `earwitness timing`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from earwitness.errors import InputError
from earwitness.trace.capture import Capture
from earwitness.trace.delay import delay_statistics
from earwitness.trace.directions import directions
from earwitness.trace.jitter import JitterStatistics, as_published
from earwitness.trace.payload_types import codec_name
from earwitness.trace.rtcp import round_trips_ms, rtcp_round_trips
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.series import ArrivalSeries, arrivals
from earwitness.trace.timing import SPIKE_MS, Timing, summarise
from earwitness.trace.wireshark import WiresharkFigures, wireshark_figures

SIDES = {"caller": "10.8.0.1", "callee": "10.8.0.2"}
"""Sender of the packets that a side received, in the published study's tunnel: 10.8.0.2 is the caller's end and
10.8.0.1 the server's, so packets from the server are what the caller's phone received."""


@dataclass(frozen=True)
class StreamTiming:
    """One stream of a capture and its timing by every definition."""

    capture: str
    stream: RtpStream
    timing: Timing
    published: JitterStatistics
    wireshark: WiresharkFigures
    rtt_p50_ms: float
    """Median round trip to the stream's sender, from RTCP in the capture; NaN if there is none."""
    direction: str
    """Seen from where the capture was made: `received`, `sent` or `unknown`."""
    direction_from: str
    """What tells it: `capture`, or guessed by `jitter` or `SIP` (`earwitness.trace.directions`); empty if unknown."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """One flat record; the study's and Wireshark's figures are prefixed `published_` and `wireshark_`."""
        flow, stream = self.stream.flow, self.stream
        return {
            "capture": self.capture,
            "source": flow.source,
            "source_port": flow.source_port,
            "destination": flow.destination,
            "destination_port": flow.destination_port,
            "ssrc": f"0x{stream.ssrc:08x}",
            "payload_type": stream.payload_type,
            "codec": stream.codec,
            "codec_from": stream.codec_from,
            "codecs": [codec_name(one) or "?" for _, one in sorted(stream.trace.formats.items())],
            "media": stream.media,
            "direction": self.direction,
            "direction_from": self.direction_from,
            "encrypted": stream.encryption.kind if stream.encryption.certain else "",
            "doubt": "; ".join(stream.doubts),
            **self.timing.to_dict(),
            "rtcp_rtt_p50_ms": self.rtt_p50_ms,
            "rtcp_half_rtt_p50_ms": self.rtt_p50_ms / 2,
            **{f"published_jitter_{k}": v for k, v in dataclasses.asdict(self.published).items()},
            **{f"wireshark_{k}": v for k, v in dataclasses.asdict(self.wireshark).items()},
            "notes": list(self.notes),
        }


def choose_streams(
    capture: Capture, *, side: str | None = None, address: str | None = None, stream: str | None = None
) -> Sequence[RtpStream]:
    """Select streams of a capture.

    `stream` is an SSRC (`0x1234abcd` or decimal) or a number in the list, from 1. `address` is the sender's. `side` is
    `caller` or `callee` and selects what that side received: by the addresses of the published study's tunnel,
    otherwise by who sent the first INVITE in the capture. Without any, all streams. Raises `InputError` if no stream
    matches.
    """
    if stream is not None:
        return [_by_name(capture, stream)]
    if side is not None and address is None:
        address = _sender_to(capture, side)
    if address is None:
        if not capture.streams:
            raise _none(capture, "it has no RTP stream")
        return capture.streams
    sent = capture.sent_by(address)
    if not sent:
        raise _none(capture, f"it has no RTP stream from {address}")
    # A stray second SSRC is not a second call: the side received the stream with the most packets.
    return sent[:1] if side is not None else sent


def _sender_to(capture: Capture, side: str) -> str:
    """The address from which a side's packets come."""
    if side not in SIDES:
        raise InputError(
            "choosing streams of", capture.source, f"there is no side {side!r}", "say caller or callee", field="side"
        )
    ends = {stream.flow.source for stream in capture.streams} | {message.source for message in capture.sip}
    if ends <= set(SIDES.values()):
        return SIDES[side]
    for message in capture.sip:
        if message.method == "INVITE" and not message.status:
            return message.destination if side == "caller" else message.source
    happened, remedy = "it has no INVITE, so the caller is unknown", "give the sender's {address} instead"
    raise InputError("choosing streams of", capture.source, happened, remedy, field="side", related=("address",))


def _none(capture: Capture, happened: str) -> InputError:
    if capture.streams:
        listed = "; ".join(str(stream) for stream in capture.streams[:4])
        return InputError("choosing streams of", capture.source, happened, f"choose another (it holds {listed})")
    why = "; ".join(problem.detail for problem in capture.problems[:3]) or "it is empty"
    remedy = "give a capture that holds the RTP of a call"
    return InputError("choosing streams of", capture.source, f"{happened} ({why})", remedy)


def _by_name(capture: Capture, name: str) -> RtpStream:
    """The stream with this SSRC, or this number from 1."""
    try:
        number = int(name, 0)
    except ValueError as error:
        happened = f"{name!r} is not a number"
        raise InputError("choosing streams of", capture.source, happened, "give an SSRC or 1, 2 ...") from error
    for candidate in capture.streams:
        if candidate.ssrc == number:
            return candidate
    if 1 <= number <= len(capture.streams):
        return capture.streams[number - 1]
    raise _none(capture, f"it has no stream {name}")


def time_streams(
    capture: Capture, streams: Sequence[RtpStream], *, spike_threshold_ms: float = SPIKE_MS
) -> list[StreamTiming]:
    """The timing of these streams of a capture, by every definition."""
    trips = rtcp_round_trips(capture)
    series = {stream: arrivals(stream.trace) for stream in streams}
    seen = directions(capture, streams, series)
    found = []
    for stream, here in series.items():
        rtts = round_trips_ms(capture, stream, trips)
        found.append(
            StreamTiming(
                capture=capture.source,
                stream=stream,
                timing=summarise(stream.trace, spike_threshold_ms=spike_threshold_ms, series=here),
                published=as_published(here),
                wireshark=wireshark_figures(stream.trace, capture.started_ns, here.timeline),
                rtt_p50_ms=delay_statistics(rtts).p50_ms,
                direction=seen[stream].direction,
                direction_from=seen[stream].basis,
                notes=_notes(capture, stream, here),
            )
        )
    return found


def _notes(capture: Capture, stream: RtpStream, here: ArrivalSeries) -> tuple[str, ...]:
    """What a reader of the stream's figures should know, each once."""
    encryption = str(stream.encryption)
    # What became of a key stands behind it already.
    told = any(note.startswith(encryption) for note in stream.trace.notes)
    problems = (str(problem) for problem in capture.problems)
    return tuple(
        dict.fromkeys(
            (*stream.trace.notes, *(() if told or not encryption else (encryption,)), *here.timeline.notes, *problems)
        )
    )
