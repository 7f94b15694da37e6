"""What a phone tells of a call when it is over. Plain values; one codec to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earwitness.errors import Outcome
from earwitness.phone.grid import SendingTimes
from earwitness.phone.sip_wire import SipLogEntry

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
"""Names of the milestones, ns on the call's clock each. `first_provisional` is the first 180 (or other 101-199)
sent or received, `answered` the 200 sent or received, `bye` the BYE sent or received, `ended` its completion."""


@dataclass(frozen=True)
class RtcpReport:
    """What RTCP told."""

    round_trips_ms: tuple[float, ...] = ()
    """Round-trip times from LSR and DLSR, in order (RFC 3550 6.4.1)."""
    remote_fraction_lost: float | None = None
    """Loss of our stream as the far end last reported it, 0..1 since its report before."""
    remote_cumulative_lost: int | None = None
    remote_jitter_ms: float | None = None
    sent: int = 0
    received: int = 0
    malformed: int = 0
    remote_said_bye: bool = False

    @property
    def median_round_trip_ms(self) -> float | None:
        """Median round-trip time; None where none was measured."""
        return float(np.median(self.round_trips_ms)) if self.round_trips_ms else None


@dataclass(frozen=True)
class PhoneReport:
    """One end of one call."""

    uri: str
    role: str
    """`caller`, `callee`, or `idle` when there was no call."""
    codec: str = ""
    """Encoding name that was agreed on, or empty."""
    payload_type: int | None = None
    milestones: dict[str, int] = field(default_factory=dict)
    sending: SendingTimes | None = None
    scheduling: str = ""
    """Scheduling class of the sending thread: fifo, nice or normal."""
    packets_sent: int = 0
    packets_suppressed: int = 0
    """Slots of the grid left empty by silence suppression."""
    packets_refused: int = 0
    """Packets that the system refused to send."""
    packets_received: int = 0
    packets_lost: int = 0
    """By sequence numbers, as for RTCP: duplicates count against loss."""
    jitter_ms: float | None = None
    """Interarrival jitter at the end (RFC 3550 A.8)."""
    stray: int = 0
    """Datagrams on the RTP port that were no RTP."""
    ssrc: int | None = None
    remote_ssrcs: tuple[int, ...] = ()
    rtcp: RtcpReport = field(default_factory=RtcpReport)
    no_media: bool = False
    """The call was answered, and no RTP came for `no_media_s` or until it ended."""
    ended_by: str = ""
    """`local`, `remote`, or why the dialogue broke."""
    bye_status: int | None = None
    """Status of the response to our BYE; None where none came or none was sent."""
    sip: tuple[SipLogEntry, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether the call was set up."""
        return "answered" in self.milestones

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhoneReport:
        """The inverse of `to_dict`."""
        given = dict(values)
        rtcp = dict(given.get("rtcp", {}))
        rtcp["round_trips_ms"] = tuple(rtcp.get("round_trips_ms", ()))
        given["rtcp"] = RtcpReport(**rtcp)
        given["sending"] = SendingTimes(**given["sending"]) if given.get("sending") else None
        given["remote_ssrcs"] = tuple(given.get("remote_ssrcs", ()))
        given["sip"] = tuple(SipLogEntry(**entry) for entry in given.get("sip", ()))
        return cls(**given)


def media_outcome(caller: PhoneReport, callee: PhoneReport) -> Outcome:
    """COMPLETED, NO_MEDIA or ONE_WAY_MEDIA, from what arrived at both ends of an answered call."""
    heard = (caller.packets_received > 0, callee.packets_received > 0)
    if all(heard):
        return Outcome.COMPLETED
    return Outcome.ONE_WAY_MEDIA if any(heard) else Outcome.NO_MEDIA
