"""Facts that a path reports for the record of its call. Times are in ms unless a name says otherwise."""

# ruff: noqa: RUF009 -- `fact`, `sparse` and `others` make a dataclass field, as `field` does
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earwitness.facts import LABEL, MS_RANGE, fact, others, sparse
from earwitness.path.probe import RoundTrips, Throughput
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest


@dataclass(frozen=True)
class Hop:
    """One relay of the circuit."""

    nickname: str = fact("Name that the relay gives itself", longest=LABEL)
    fingerprint: str = fact("Fingerprint of its identity key, 40 hexadecimal digits", default="")
    address: str = fact("IP address", default="")
    place: str = fact("City", longest=LABEL, default="")
    country: str = fact("Country", longest=LABEL, default="")

    @classmethod
    def of(cls, relay: Relay) -> Hop:
        """The relay's entry in the consensus, reduced to what a record stores."""
        return cls(relay.nickname, relay.fingerprint, relay.address, relay.place, relay.country)


@dataclass(frozen=True, kw_only=True)
class CircuitFacts:
    """The circuit that carried the call, first hop first. Without Tor it has no relays."""

    id: str = fact("Circuit id at the caller's tor (control-spec CIRC events)", default="")
    relays: tuple[Hop, ...] = fact("Relays, from the guard on", default=())

    def __str__(self) -> str:
        return " > ".join(f"{relay.nickname}@{relay.place}" for relay in self.relays)


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """One TCP stream of the path."""

    stream_id: int | None = sparse("Stream id at the caller's tor")
    circuit_id: str | None = sparse("Circuit that carries the stream, according to tor")
    source_port: int | None = sparse("TCP source port of the connection to the SOCKS port")
    connect_ms: float | None = sparse("Time to connect it", MS_RANGE)
    greeting_ms: float | None = sparse("Round-trip time of the first datagram through it", MS_RANGE)


@dataclass(frozen=True, kw_only=True)
class FlowCounts:
    """Datagrams of one flow at one end."""

    sent: int = fact("Datagrams passed to the stream", default=0)
    received: int = fact("Datagrams received from the stream", default=0)
    dropped_queue_full: int = fact("Datagrams dropped because the stream accepted no more", default=0)
    dropped_no_stream: int = fact("Datagrams dropped because the stream was not open", default=0)


@dataclass(frozen=True, kw_only=True)
class ForwarderCounts:
    """Counters of one end's forwarder."""

    flows: Mapping[str, FlowCounts] | None = sparse("Counts by flow: sip, rtp, rtcp, other")
    ignored: Mapping[str, int] | None = sparse("Packets that were not UDP datagrams, by kind")
    strangers: int | None = sparse("Connections that did not authenticate as part of this path")


@dataclass(frozen=True, kw_only=True)
class ThroughputFacts:
    """Throughput measured in one direction."""

    bytes: int = fact("Bytes received after the first piece")
    seconds: float = fact("Time in which they arrived, in seconds", MS_RANGE)
    kbit_s: float | None = fact("Throughput, in units of 1,000 bits per second", (0.0, 1e12), default=None)

    @classmethod
    def of(cls, measured: Throughput) -> ThroughputFacts:
        """The measured arrivals with their rate."""
        return cls(bytes=measured.bytes, seconds=measured.seconds, kbit_s=measured.kbit_s)


@dataclass(frozen=True, kw_only=True)
class PathFacts:
    """Facts of an open path; only those of its kind are set."""

    path_setup_ms: float | None = sparse("Time to open the path, as the path measured it", MS_RANGE)
    interface: str | None = sparse("Network device that carries the phones' datagrams")
    streams: Mapping[str, StreamFacts] | None = sparse("Streams that carry the datagrams, by flow")
    streams_open_ms: float | None = sparse("Time to open the streams", MS_RANGE)
    forwarders: Mapping[str, ForwarderCounts] | None = sparse("Counters of the forwarders, by end")
    circuit_request: CircuitRequest | None = sparse("Requested circuit")
    circuit_build_ms: float | None = sparse("Time to build the circuit", MS_RANGE)
    circuit_kept: bool | None = sparse("Whether the circuit was kept from an earlier call")
    verify_ms: float | None = sparse("Time to verify that each stream is on the circuit", MS_RANGE)
    relay_nodelay: bool | None = sparse("Whether the relays had TCP_NODELAY set")
    tunnel_up_ms: float | None = sparse("Time until both ends of the tunnel were up", MS_RANGE)
    security: str | None = sparse("Protection of the tunnel: none, static, tls", longest=LABEL)
    tunnel_nodelay: bool | None = sparse("Whether the tunnel's TCP connection had TCP_NODELAY set")
    bridged: bool | None = sparse("Whether the tunnel's connection left its sandbox through Earwitness's byte relay")
    openvpn: str | None = sparse("Version of OpenVPN")
    cipher: str | None = sparse("Cipher of the tunnel's data channel")
    publish_ms: float | None = sparse("Time until the onion service's descriptor was published", MS_RANGE)
    descriptor_uploads: int | None = sparse("Number of directories that accepted the descriptor")
    single_onion: bool | None = sparse("Whether it was a single onion service, which does not hide its location")
    rendezvous: str | None = sparse("Nickname of the rendezvous point")
    rtt: RoundTrips | None = sparse("Round-trip times of probes before the call")
    throughput: Mapping[str, ThroughputFacts] | None = sparse("Throughput of the path after the call, by direction")
    others: Mapping[str, Any] = others("Facts that this version does not know")
