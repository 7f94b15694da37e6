"""The plan of a lab as a value: hosts, cities, roles, links."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from earwitness.emulator.link_profile import LinkProfile
from earwitness.errors import InputError, naming_field
from earwitness.geography import INFLATION, Place, delay_ms, place
from earwitness.lab.load.spec import LEAST_RELAY_MBIT, LOAD_CLIENT, LOAD_SERVER, NO_LOAD, LoadSpec

_AUTHORITY_CITIES = ("Amsterdam", "Stockholm", "Ashburn, US", "Zurich", "Vienna")
"""Near the places of the public network's authorities."""
_RELAY_CITIES = (
    ("guard", "Frankfurt"),
    ("middle", "Amsterdam"),
    ("exit", "New York"),
    ("guard", "Paris"),
    ("middle", "Helsinki"),
    ("exit", "London"),
    ("guard", "Warsaw"),
    ("exit", "Montreal"),
    ("middle", "Bucharest"),
    ("guard", "Dallas"),
    ("exit", "Singapore"),
    ("middle", "Tokyo"),
)
"""Most of the public network's capacity is in Europe and North America. Any prefix of the list covers every role."""

_LOAD_CITIES = ("Amsterdam", "Ashburn, US")

_MOST_PAIRS = 16

_LINK_KEY = re.compile(r"(?P<a>[\w*]+)(?:(?P<direction>[->])(?P<b>[\w*]+))?")


@dataclass(frozen=True)
class HostPlan:
    """One host. `place` is a city, in any form that `geography.place` reads.

    `role` is authority, guard, middle, exit, client (runs a tor client) or plain (runs none).
    """

    name: str
    place: str
    role: str


@dataclass(frozen=True, kw_only=True)
class LabPlan:
    """A lab to start. The same plan and seed give the same links, losses and delays."""

    caller_place: str = "Frankfurt"
    callee_place: str = "New York"
    with_tor: bool = True
    """False: caller, callee and server only, up in a second, for direct calls and tests."""
    authorities: int = 3
    """Directory authorities: three is the smallest number that can still vote when one is lost."""
    relays: int = 8
    """Two or three for each role, so that circuits differ and one relay can be lost."""
    pairs: int = 1
    """Pairs of caller and callee, which can be in calls at the same time: `caller2`, `callee2` ..."""
    seed: int = 1
    refusing_exits: tuple[str, ...] = ()
    """Exits, by host name, whose policy refuses every stream, to show a refusal."""
    relay_nodelay: bool = False
    """Set TCP_NODELAY on the relays' sockets; stock tor does not."""
    load: str | None = None
    """Background traffic while the lab is up (`earwitness.lab.load.spec`). None: as in the running lab, else
    none."""
    with_load: bool = False
    """Whether there are hosts for background traffic, be it the lab's or a call's."""
    relay_mbit: float | None = None
    """Limit on each relay's rate (tor's RelayBandwidthRate), Mbit/s; 0: none. None: as in the running lab, else
    none."""
    inflation: float = INFLATION
    """See `earwitness.geography.INFLATION`."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Changes to links on top of geography, applied in order: `caller>callee` (one direction), `caller-callee` (both),
    `relay3` (all links of a host) or `*`, each with settings in the form that `LinkProfile.with_spec` reads."""

    def __post_init__(self) -> None:
        for end in ("caller_place", "callee_place"):
            with naming_field(end):
                place(getattr(self, end))
        if self.with_tor and not (1 <= self.authorities <= len(_AUTHORITY_CITIES)):
            _refuse("authorities", self.authorities, f"between 1 and {len(_AUTHORITY_CITIES)}")
        if self.with_tor and not 3 <= self.relays <= 200:
            _refuse("relays", self.relays, "between 3 and 200: a guard, a middle and an exit at least")
        if not 1 <= self.pairs <= _MOST_PAIRS:
            _refuse("pairs", self.pairs, f"between 1 and {_MOST_PAIRS}")
        with naming_field("load"):
            standing = self.standing_load
        if standing and not (self.with_tor and self.with_load):
            _refuse("load", self.load, "it to a lab with {with_tor} and {with_load}")
        if self.relay_mbit and not LEAST_RELAY_MBIT <= self.relay_mbit <= 10_000:
            _refuse("relay_mbit", self.relay_mbit, f"0 or between {LEAST_RELAY_MBIT:g} and 10000")
        if not 1.0 <= self.inflation <= 10.0:
            _refuse("inflation", self.inflation, "between 1 and 10")
        names = {host.name for host in self.hosts()} | {"*"}
        for key, spec in self.links.items():
            match = _LINK_KEY.fullmatch(key)
            if match is None or not {match["a"], match["b"] or "*"} <= names:
                _refuse("links", key, f"HOST>HOST, HOST-HOST, HOST or *, of {', '.join(sorted(names - {'*'}))}")
            with naming_field("links"):
                LinkProfile().with_spec(spec)

    def hosts(self) -> list[HostPlan]:
        """All hosts; their order numbers them."""
        client = "client" if self.with_tor else "plain"
        hosts = [
            HostPlan("caller", self.caller_place, client),
            HostPlan("callee", self.callee_place, client),
            HostPlan("server", self.callee_place, "plain"),
        ]
        if self.with_tor:
            for number, city in enumerate(_AUTHORITY_CITIES[: self.authorities], 1):
                hosts.append(HostPlan(f"authority{number}", city, "authority"))
            for number in range(self.relays):
                role, city = _RELAY_CITIES[number % len(_RELAY_CITIES)]
                hosts.append(HostPlan(f"relay{number + 1}", city, role))
        for pair in range(2, self.pairs + 1):
            caller, callee = pair_names(pair)
            hosts += [HostPlan(caller, self.caller_place, client), HostPlan(callee, self.callee_place, client)]
        if self.with_load:
            hosts += [HostPlan(LOAD_CLIENT, _LOAD_CITIES[0], client), HostPlan(LOAD_SERVER, _LOAD_CITIES[1], "plain")]
        return hosts

    @property
    def standing_load(self) -> LoadSpec:
        """What `load` asks for."""
        return LoadSpec.parse(self.load or NO_LOAD)

    def links_between(self, places: Mapping[str, Place]) -> Iterator[tuple[str, str, LinkProfile]]:
        """The link profile of every ordered pair of hosts, given each host's place by name."""
        for source, here in places.items():
            for destination, there in places.items():
                if source != destination:
                    profile = LinkProfile(delay_ms=delay_ms(here, there, self.inflation))
                    for key, spec in self.links.items():
                        if _concerns(key, source, destination):
                            profile = profile.with_spec(spec)
                    yield source, destination, profile

    def served_by(self, other: LabPlan) -> bool:
        """Whether a lab of the `other` plan can serve this one; places, links and seed can be changed later."""
        network = ("authorities", "relays", "refusing_exits", "relay_nodelay")
        same_network = all(getattr(self, name) == getattr(other, name) for name in network)
        return (
            self.inflation == other.inflation
            and (self.load is None or self.standing_load == other.standing_load)
            and (not self.with_load or other.with_load)
            and (self.relay_mbit is None or not self.with_tor or self.relay_mbit == (other.relay_mbit or 0.0))
            and self.pairs <= other.pairs
            and (not self.with_tor or (other.with_tor and same_network))
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabPlan:
        """The inverse of `to_dict`."""
        return cls(**{**values, "refusing_exits": tuple(values["refusing_exits"])})


def pair_names(pair: int) -> tuple[str, str]:
    """The hosts of a pair of ends, numbered from 1: `caller` and `callee`, `caller2` and `callee2` ..."""
    number = "" if pair == 1 else str(pair)
    return f"caller{number}", f"callee{number}"


def _concerns(key: str, source: str, destination: str) -> bool:
    match = _LINK_KEY.fullmatch(key)
    assert match is not None, "checked when the plan was made"

    def fits(a: str, b: str) -> bool:
        return a in ("*", source) and b in ("*", destination)

    if match["direction"] == ">":
        return fits(match["a"], match["b"])
    other = match["b"] or "*"
    return fits(match["a"], other) or fits(other, match["a"])


def _refuse(field: str, value: object, rule: str) -> None:
    related = ("with_tor", "with_load")
    raise InputError(
        "planning a lab with", f"{field} = {value}", "not possible", f"give {rule}", field=field, related=related
    )
