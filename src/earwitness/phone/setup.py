"""The settings of a phone for a call."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from earwitness.untrusted import (
    MOST_NS,
    UntrustedValue,
    fields,
    flag,
    listed,
    name,
    number,
    optional,
    shown,
    text,
    whole,
)

LONGEST_S = 3600.0
"""The longest time that a phone speaks in one call."""


@dataclass(frozen=True)
class SipServer:
    """A registrar and proxy, and our account there. The password is passed through stdin only and never shown."""

    host: str
    user: str
    password: str = field(repr=False)
    port: int = 5060
    domain: str = ""
    """SIP domain; empty: `host`."""


@dataclass(frozen=True, kw_only=True)
class PhoneSetup:
    """One phone for one call. All times that it reports are CLOCK_MONOTONIC + `epoch_offset_ns`."""

    address: str
    """IPv4 address that it binds to and offers (`End.address` of the path)."""
    epoch_offset_ns: int
    user: str = "earwitness"
    """User part of its URI; with a server, the account's user is used instead."""
    sip_port: int = 5060
    rtp_port: int = 4000
    """RTCP uses the next port."""
    codec: str = "g711u"
    """The codec that it offers and speaks; syntax of `earwitness.speech.codecs.registry.codec`."""
    accepts: tuple[str, ...] = ()
    """Codecs that it accepts when called, besides `codec`."""
    speech: str = ""
    """Name of a bundled reference or a WAV file; empty: the default reference."""
    seconds: float | None = None
    """How long it speaks, with the speech looped or cut. None: the speech once."""
    remote_seconds: float | None = None
    """How long the far end speaks, for `finish`. None: as long as this one."""
    silence_suppression: bool = False
    seed: int = 1
    """Seeds SSRC, initial sequence number and timestamp, and the RTCP timer, together with the address."""
    server: SipServer | None = None
    t1_s: float = 0.5
    """SIP's T1 (RFC 3261 17.1.1.1)."""
    rtcp_minimum_s: float = 1.0
    """Minimum mean interval of RTCP reports; the AVP profile's 5 s gives no round-trip time in a short call."""
    no_media_s: float = 5.0
    """An answered call without RTP for this long is reported as having no media."""
    peers: tuple[str, ...] = ()
    """If given, the only addresses that it exchanges SIP and RTP with; see `earwitness.phone.reachable.Reach`."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, including the password: for the phone's stdin only."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhoneSetup:
        """Inverse of `to_dict`, for setups that may come from a remote machine. Raises `UntrustedValue`."""
        given = fields(values, what="the setup of a phone")
        if unknown := sorted(str(key) for key in given.keys() - _READ.keys()):
            raise UntrustedValue(f"the setup of a phone: it has no field {shown(unknown[0])}")
        if missing := sorted({"address", "epoch_offset_ns"} - given.keys()):
            raise UntrustedValue(f"the setup of a phone: {missing[0]} is missing")
        return cls(**{key: read(given[key]) for key, read in _READ.items() if key in given})


def _address(value: object) -> str:
    try:
        return str(ipaddress.IPv4Address(name(value, what="address")))
    except ipaddress.AddressValueError as error:
        raise UntrustedValue(f"address: {shown(value)} is not an IPv4 address") from error


def _server(value: object) -> SipServer:
    given = fields(value, what="server")
    texts = {key: name(given.get(key, ""), 300, what=f"server.{key}") for key in ("host", "user", "password", "domain")}
    return SipServer(**texts, port=whole(given.get("port", 5060), 1, 65535, what="server.port"))


def _seconds(what: str, least: float, most: float = LONGEST_S) -> Callable[[object], float]:
    return lambda value: number(value, least, most, what=what)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "address": _address,
    "epoch_offset_ns": lambda value: whole(value, -MOST_NS, MOST_NS, what="epoch_offset_ns"),
    "user": lambda value: name(value, what="user"),
    "sip_port": lambda value: whole(value, 0, 65535, what="sip_port"),
    "rtp_port": lambda value: whole(value, 0, 65534, what="rtp_port"),
    "codec": lambda value: name(value, what="codec"),
    "accepts": lambda value: listed(value, lambda one: name(one, what="accepts"), 20, what="accepts"),
    "speech": lambda value: text(value, 4096, what="speech"),
    "seconds": lambda value: optional(value, _seconds("seconds", 0.0)),
    "remote_seconds": lambda value: optional(value, _seconds("remote_seconds", 0.0)),
    "silence_suppression": lambda value: flag(value, what="silence_suppression"),
    "seed": lambda value: whole(value, -MOST_NS, MOST_NS, what="seed"),
    "server": lambda value: optional(value, _server),
    "t1_s": _seconds("t1_s", 0.001, 10.0),
    "rtcp_minimum_s": _seconds("rtcp_minimum_s", 0.05),
    "no_media_s": _seconds("no_media_s", 0.0),
    "peers": lambda value: listed(value, _address, 8, what="peers"),
}
