"""A Tor network as its users see it: relays and clients. Converts to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earwitness.errors import InputError
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.relays import Relay


@dataclass(frozen=True)
class TorClient:
    """A tor client: its host, control port, SOCKS address on that host, and process id."""

    host: str
    control: ControlAddress
    socks: tuple[str, int] = ("127.0.0.1", 9050)
    pid: int = 0


@dataclass(frozen=True)
class TorNetwork:
    """The facts about a Tor network, private or public, that a path needs."""

    name: str
    relays: tuple[Relay, ...]
    clients: Mapping[str, TorClient]
    pids: Mapping[str, int] = field(default_factory=dict)
    """Process ids, in the sandbox's pid namespace, of all tors that may carry a call's cells, by name: relays, clients,
    and authorities, which tor itself uses as relays for onion services. Empty for a public network."""
    authorities: tuple[Relay, ...] = ()
    """Directory authorities: never drawn for our circuits, but tor may use them as middle relays of its own."""
    relay_nodelay: bool = False
    """Whether TCP_NODELAY is always set on all connections of its relays and clients (`earwitness.tor.nodelay`)."""

    def client(self, host_name: str) -> TorClient:
        """The client on a host. Raises `InputError` when there is none."""
        if host_name not in self.clients:
            there_are = ", ".join(sorted(self.clients)) or "none"
            raise InputError("looking for the Tor client on", host_name, "there is none", f"there are: {there_are}")
        return self.clients[host_name]

    def relay(self, name: str) -> Relay:
        """The relay with this nickname or fingerprint. Raises `InputError` when there is none."""
        for relay in (*self.relays, *self.authorities):
            if name.removeprefix("$").upper() == relay.fingerprint or name == relay.nickname:
                return relay
        there_are = ", ".join(relay.nickname for relay in self.relays[:20])
        raise InputError("looking for the relay", name, "there is none", f"there are: {there_are}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with which another process can join the network."""
        return {
            "name": self.name,
            "relays": [_relay_to_json(relay) for relay in self.relays],
            "authorities": [_relay_to_json(relay) for relay in self.authorities],
            "clients": {
                host: {"control": str(client.control), "socks": list(client.socks), "pid": client.pid}
                for host, client in self.clients.items()
            },
            "pids": dict(self.pids),
            "relay_nodelay": self.relay_nodelay,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TorNetwork:
        """Parse the output of `to_json`. Raises `InputError` for anything else."""
        try:
            return TorNetwork(
                name=value["name"],
                relays=tuple(_relay_from_json(relay) for relay in value["relays"]),
                authorities=tuple(_relay_from_json(relay) for relay in value["authorities"]),
                clients={
                    host: TorClient(
                        host,
                        ControlAddress.parse(client["control"]),
                        (client["socks"][0], client["socks"][1]),
                        client["pid"],
                    )
                    for host, client in value["clients"].items()
                },
                pids=dict(value["pids"]),
                relay_nodelay=value["relay_nodelay"],
            )
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                "reading the description of a Tor network:", type(value).__name__, repr(error), "start the lab again"
            ) from error


def _relay_to_json(relay: Relay) -> dict[str, Any]:
    return {**vars(relay), "flags": sorted(relay.flags)}


def _relay_from_json(value: Mapping[str, Any]) -> Relay:
    return Relay(**{**value, "flags": frozenset(value["flags"])})
