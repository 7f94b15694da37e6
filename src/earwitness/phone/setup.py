"""What a phone is told before a call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SipServer:
    """A registrar and proxy, and who we are there. The password travels by stdin only and is shown nowhere."""

    host: str
    user: str
    password: str = field(repr=False)
    port: int = 5060
    domain: str = ""
    """Empty: `host`."""


@dataclass(frozen=True, kw_only=True)
class PhoneSetup:
    """One phone for one call. All times that it reports are on CLOCK_MONOTONIC + `epoch_offset_ns`."""

    address: str
    """IPv4 address that it binds to and offers (`End.address` of the path)."""
    epoch_offset_ns: int
    user: str = "earwitness"
    """User part of its URI; with a server, that account's user is taken."""
    sip_port: int = 5060
    rtp_port: int = 4000
    """RTCP is the next port."""
    codec: str = "g711u"
    """What it offers, and what it speaks; as `earwitness.speech.codecs.registry.codec` reads it."""
    accepts: tuple[str, ...] = ()
    """Codecs that it accepts when called, besides `codec`."""
    speech: str = ""
    """Name of a shipped reference or a WAV file; empty: the default one."""
    seconds: float | None = None
    """How long it speaks: the speech looped or cut. None: once."""
    remote_seconds: float | None = None
    """How long the far end speaks, for `finish`. None: as long as this one."""
    silence_suppression: bool = False
    seed: int = 1
    """Start values of SSRC, sequence number and timestamp, and the RTCP timer, come from this and the address."""
    server: SipServer | None = None
    t1_s: float = 0.5
    """SIP's T1 (RFC 3261 17.1.1.1)."""
    rtcp_minimum_s: float = 1.0
    """Least mean time between RTCP reports; the AVP profile's 5 s gives no round-trip time in a short call."""
    no_media_s: float = 5.0
    """An answered call on which no RTP came for so long is reported as such."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, password included: for the phone's stdin alone."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhoneSetup:
        """The inverse of `to_dict`."""
        given = dict(values)
        given["accepts"] = tuple(given.get("accepts", ()))
        if given.get("server"):
            given["server"] = SipServer(**given["server"])
        return cls(**given)
