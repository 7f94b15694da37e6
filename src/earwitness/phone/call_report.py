"""A phone's report of a call that is over. Plain values, converted to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earwitness.errors import CallFailure, Outcome
from earwitness.phone.pacer import SendingTimes
from earwitness.phone.rtcp_session import MOST_ROUND_TRIPS, RtcpSession
from earwitness.phone.sip_wire import LONGEST_LOGGED, MOST_LOGGED, SipLogEntry
from earwitness.untrusted import (
    MOST_COUNT,
    MOST_NS,
    UntrustedValue,
    fields,
    flag,
    listed,
    name,
    number,
    optional,
    plain,
    text,
    whole,
)

MILESTONES = (
    "registered",
    "invite_sent",
    "invite_received",
    "first_provisional",
    "answered",
    "ack",
    "first_rtp_sent",
    "first_rtp_received",
    "speech_ended",
    "bye",
    "ended",
)
"""Names of the milestones, each in ns on the call's clock. `first_provisional` is the first 180 (or other 101-199)
sent or received, `answered` the 200 sent or received, `bye` the BYE sent or received, `ended` its completion."""

MOST_SOURCES = 32
"""RTP sources that a phone distinguishes in one call; a speaking phone is one source."""
_ROLES = ("caller", "callee", "idle")
_LONGEST_MS = 1e10
"""Four months: RTCP's figures have 32 bits, in units of 1/65,536 s or of the RTP clock."""


class StrangeReport(CallFailure):
    """A phone's report is malformed: the call is stored without it, as failed."""


@dataclass(frozen=True)
class RtcpReport:
    """Figures that RTCP reported."""

    round_trips_ms: tuple[float, ...] = ()
    """Round-trip times from LSR and DLSR, in order (RFC 3550 6.4.1)."""
    remote_fraction_lost: float | None = None
    """Loss of our stream between the far end's last two reports, 0..1."""
    remote_cumulative_lost: int | None = None
    remote_jitter_ms: float | None = None
    sent: int = 0
    received: int = 0
    malformed: int = 0
    remote_said_bye: bool = False

    @property
    def median_round_trip_ms(self) -> float | None:
        """Median round-trip time; None if none was measured."""
        return float(np.median(self.round_trips_ms)) if self.round_trips_ms else None

    @classmethod
    def of(cls, session: RtcpSession) -> RtcpReport:
        """Return the figures of an RTCP session so far."""
        view = session.remote_view
        return cls(
            round_trips_ms=tuple(session.round_trips_ms),
            remote_fraction_lost=view.fraction_lost if view else None,
            remote_cumulative_lost=view.cumulative_lost if view else None,
            remote_jitter_ms=view.jitter_ms if view else None,
            sent=session.sent,
            received=session.received,
            malformed=session.malformed,
            remote_said_bye=session.remote_said_bye,
        )


@dataclass(frozen=True)
class PhoneReport:
    """The report of one end of one call."""

    uri: str
    role: str
    """`caller`, `callee`, or `idle` if there was no call."""
    codec: str = ""
    """Encoding name of the negotiated codec, or empty."""
    payload_type: int | None = None
    milestones: dict[str, int] = field(default_factory=dict)
    sending: SendingTimes | None = None
    scheduling: str = ""
    """Scheduling class of the sending thread: fifo, nice or normal."""
    packets_sent: int = 0
    packets_suppressed: int = 0
    """Packet slots left empty by silence suppression."""
    packets_refused: int = 0
    """Packets that the operating system refused to send."""
    packets_received: int = 0
    packets_lost: int = 0
    """From sequence numbers, as for RTCP: duplicates offset losses."""
    jitter_ms: float | None = None
    """Interarrival jitter at the end of the call (RFC 3550 A.8)."""
    stray: int = 0
    """Datagrams on the RTP port that were not RTP, or from sources beyond the first `MOST_SOURCES`."""
    ssrc: int | None = None
    remote_ssrcs: tuple[int, ...] = ()
    rtcp: RtcpReport = field(default_factory=RtcpReport)
    no_media: bool = False
    """The call was answered, and no RTP arrived for `no_media_s` or until it ended."""
    ended_by: str = ""
    """`local`, `remote`, or why the dialog broke."""
    bye_status: int | None = None
    """Status of the response to our BYE; None if none arrived or none was sent."""
    sip: tuple[SipLogEntry, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether the call was set up."""
        return "answered" in self.milestones

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> PhoneReport:
        """Inverse of `to_dict`, for reports from untrusted phones. Raises `UntrustedValue`.

        Missing fields take their defaults; unknown fields are ignored.
        """
        given = fields(values, what="the report")
        said = {key: read(given[key]) for key, read in _REPORT.items() if key in given}
        if missing := [key for key in ("uri", "role") if key not in said]:
            raise UntrustedValue(f"{missing[0]}: missing")
        return cls(**said)


def strange_report(uri: str, values: object, wrong: UntrustedValue) -> StrangeReport:
    """Return the failure of a call for which one phone's report is malformed."""
    return StrangeReport(
        Outcome.FAILED,
        "reading the report of",
        on=f"phone {uri}",
        happened=f"it is malformed: {wrong}",
        remedy="run the same Earwitness on both machines, and ask who runs the other",
        evidence={"report": plain(values)},
    )


def milestone(reported_name: object, at_ns: object) -> tuple[str, int]:
    """Read a milestone that a phone reports: one of `MILESTONES`, and its time. Raises `UntrustedValue`."""
    known = name(reported_name, what="a milestone")
    if known not in MILESTONES:
        raise UntrustedValue(f"a milestone: {known!r} is unknown")
    return known, whole(at_ns, -MOST_NS, MOST_NS, what=known)


def _milestones(value: object) -> dict[str, int]:
    return dict(milestone(key, at_ns) for key, at_ns in fields(value, what="milestones").items())


def _role(value: object) -> str:
    role = name(value, what="role")
    if role not in _ROLES:
        raise UntrustedValue(f"role: {role!r} is unknown")
    return role


def _sending(value: object) -> SendingTimes:
    given = fields(value, what="sending")
    keys = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    return SendingTimes(*(number(given.get(key), 0.0, _LONGEST_MS, what=f"sending.{key}") for key in keys))


def _rtcp(value: object) -> RtcpReport:
    given = fields(value, what="rtcp")
    return RtcpReport(**{key: read(given[key]) for key, read in _RTCP.items() if key in given})


def _sip(value: object) -> SipLogEntry:
    given = fields(value, what="a SIP message")
    return SipLogEntry(
        whole(given.get("at_ns"), -MOST_NS, MOST_NS, what="sip.at_ns"),
        flag(given.get("sent"), what="sip.sent"),
        text(given.get("peer"), 100, what="sip.peer"),
        text(given.get("text"), LONGEST_LOGGED, what="sip.text"),
    )


def _count(what: str, least: int = 0, most: int = MOST_COUNT) -> Callable[[object], int]:
    return lambda value: whole(value, least, most, what=what)


def _figure(what: str, most: float = _LONGEST_MS) -> Callable[[object], float]:
    return lambda value: number(value, 0.0, most, what=what)


_RTCP: Mapping[str, Callable[[Any], Any]] = {
    "round_trips_ms": lambda value: listed(value, _figure("a round trip"), MOST_ROUND_TRIPS, what="round trips"),
    "remote_fraction_lost": lambda value: optional(value, _figure("remote_fraction_lost", 1.0)),
    "remote_cumulative_lost": lambda value: optional(value, _count("remote_cumulative_lost", -(2**31), 2**31)),
    "remote_jitter_ms": lambda value: optional(value, _figure("remote_jitter_ms")),
    **{key: _count(key) for key in ("sent", "received", "malformed")},
    "remote_said_bye": flag,
}
_REPORT: Mapping[str, Callable[[Any], Any]] = {
    "uri": lambda value: text(value, what="uri"),
    "role": _role,
    "codec": lambda value: name(value, what="codec"),
    "payload_type": lambda value: optional(value, _count("payload_type", 0, 127)),
    "milestones": _milestones,
    "sending": lambda value: optional(value, _sending),
    "scheduling": lambda value: name(value, what="scheduling"),
    **{
        key: _count(key)
        for key in ("packets_sent", "packets_suppressed", "packets_refused", "packets_received", "stray")
    },
    "packets_lost": _count("packets_lost", -MOST_COUNT),
    "jitter_ms": lambda value: optional(value, _figure("jitter_ms")),
    "ssrc": lambda value: optional(value, _count("ssrc", 0, 2**32 - 1)),
    "remote_ssrcs": lambda value: listed(value, _count("remote_ssrcs", 0, 2**32 - 1), MOST_SOURCES),
    "rtcp": _rtcp,
    "no_media": flag,
    "ended_by": lambda value: text(value, what="ended_by"),
    "bye_status": lambda value: optional(value, _count("bye_status", 0, 999)),
    "sip": lambda value: listed(value, _sip, MOST_LOGGED, what="sip"),
}
"""Reader of each field; reports of our own phones are always within these bounds."""


def media_outcome(caller: PhoneReport, callee: PhoneReport) -> Outcome:
    """Return COMPLETED, NO_MEDIA or ONE_WAY_MEDIA, from the packets received at both ends of an answered call."""
    received = (caller.packets_received > 0, callee.packets_received > 0)
    if all(received):
        return Outcome.COMPLETED
    return Outcome.ONE_WAY_MEDIA if any(received) else Outcome.NO_MEDIA
