"""The circuit on a map: the part of the world around its cities, with great circles between them.

The outline of the land is Natural Earth's 1:110m (naturalearthdata.com, public domain), thinned by tools/make_land.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from earwitness.errors import InputError
from earwitness.geography import Place, distance_km, place

WIDTH, HEIGHT = 480, 240
_LEAST_DEGREES = 70.0
"""Width of the narrowest map: wide enough to recognise the region."""
_LETTER = 7.4
"""Width of a letter of a label, pixels, estimated generously."""


@dataclass(frozen=True)
class Waypoint:
    """A city on the way; `role` is caller, guard, middle, exit or callee."""

    role: str
    name: str
    """The relay's nickname, or empty."""
    city: str
    country: str
    place: Place | None
    km_from_last: float | None = None


@dataclass(frozen=True)
class Label:
    """A city's name next to its dot."""

    text: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class WorldMap:
    """What the template draws, in a box of `WIDTH` x `HEIGHT`."""

    transforms: tuple[str, ...]
    """One per copy of the land (more than one if the map crosses the antimeridian)."""
    route: str
    dots: tuple[tuple[float, float, str], ...]
    """x, y, role."""
    labels: tuple[Label, ...]
    says: str


def stops(ends: tuple[str, str], relays: Sequence[tuple[str, str, str]]) -> list[Waypoint]:
    """The way from caller to callee: `ends` are their cities, `relays` (nickname, city, country) with the first hop
    first."""
    roles = _roles(len(relays))
    way = [("caller", "", ends[0], ""), *((role, *relay) for role, relay in zip(roles, relays, strict=True))]
    way.append(("callee", "", ends[1], ""))
    found: list[Waypoint] = []
    for role, name, city, country in way:
        where = _find(city, country)
        last = found[-1].place if found else None
        km = distance_km(last, where) if last and where else None
        found.append(Waypoint(role, name, city, country or (where.country if where else ""), where, km))
    return found


def world_map(way: Sequence[Waypoint]) -> WorldMap | None:
    """The map of a way; None if fewer than two of its cities are known."""
    known = [(stop, stop.place) for stop in way if stop.place is not None]
    if len({(where.longitude, where.latitude) for _, where in known}) < 2:
        return None
    places = [where for _, where in known]
    arcs = [_great_circle(a, b) for a, b in pairwise(places) if a != b]
    west = _west_edge([point[0] for arc in arcs for point in arc])
    arcs = [[((lon - west) % 360 + west, lat) for lon, lat in arc] for arc in arcs]
    window = _Window([point for arc in arcs for point in arc])
    route = "".join(_arc_path(arc, window) for arc in arcs)
    dots: dict[tuple[float, float], str] = {}
    names: dict[tuple[float, float], str] = {}
    for stop, where in known:
        at = window.at((where.longitude - west) % 360 + west, where.latitude)
        dots[at] = stop.role if stop.role in ("caller", "callee") else dots.get(at, "relay")
        names[at] = stop.city
    return WorldMap(
        window.transforms(),
        route,
        tuple((x, y, role) for (x, y), role in dots.items()),
        tuple(_labels(names)),
        "Map: " + " to ".join(stop.city for stop, _ in known),
    )


@cache
def land() -> str:
    """The outline of the land as an SVG path, in tenths of a degree east and south."""
    text = files("earwitness.report").joinpath("assets/land.txt").read_text(encoding="ascii")
    return text.replace("\n", "")


class _Window:
    """A part of the world, equirectangular, with true shapes at its middle latitude."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        lons, lats = [p[0] for p in points], [p[1] for p in points]
        middle = (min(lats) + max(lats)) / 2
        self.squeeze = math.cos(math.radians(min(50.0, abs(middle))))
        wide = max((max(lons) - min(lons)) * 1.3, _LEAST_DEGREES)
        tall = (max(lats) - min(lats)) * 1.5
        wide = min(360.0, max(wide, tall * WIDTH / HEIGHT / self.squeeze))
        tall = wide * self.squeeze * HEIGHT / WIDTH
        self.west = (min(lons) + max(lons)) / 2 - wide / 2
        self.north = min(max(middle + tall / 2, -56 + tall), 84.0)
        self.scale = WIDTH / wide

    def at(self, lon: float, lat: float) -> tuple[float, float]:
        return round((lon - self.west) * self.scale, 1), round((self.north - lat) * self.scale / self.squeeze, 1)

    def transforms(self) -> tuple[str, ...]:
        """Transforms of the land in tenths of a degree; only the copies that reach into the map."""
        across, down = self.scale / 10, self.scale / 10 / self.squeeze
        made = []
        for turn in (-360, 0, 360):
            left, right = self.at(-180 + turn, 0)[0], self.at(180 + turn, 0)[0]
            if right > 0 and left < WIDTH:
                x, y = self.at(turn, 0)
                made.append(f"translate({x} {y}) scale({across:.5f} {down:.5f})")
        return tuple(made)


def _roles(relays: int) -> list[str]:
    if relays <= 1:
        return ["relay"] * relays
    return ["guard", *(["middle"] * (relays - 2)), "exit"]


@cache  # searching for an unknown name takes long
def _find(city: str, country: str) -> Place | None:
    if not city:
        return None
    for name in (f"{city}, {country}" if country else city, city):
        try:
            return place(name)
        except InputError:
            continue
    return None


def _great_circle(a: Place, b: Place, steps: int = 24) -> list[tuple[float, float]]:
    """Points (longitude, latitude) along the great circle, with continuous longitudes (spherical interpolation)."""
    vectors = []
    for where in (a, b):
        lat, lon = math.radians(where.latitude), math.radians(where.longitude)
        vectors.append((math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)))
    angle = math.acos(max(-1.0, min(1.0, sum(p * q for p, q in zip(*vectors, strict=True)))))
    points: list[tuple[float, float]] = []
    for i in range(steps + 1):
        share = i / steps
        weight = (math.sin((1 - share) * angle), math.sin(share * angle)) if angle > 1e-9 else (1 - share, share)
        x, y, z = (weight[0] * p + weight[1] * q for p, q in zip(*vectors, strict=True))
        lon = math.degrees(math.atan2(y, x))
        if points:
            lon += 360 * round((points[-1][0] - lon) / 360)
        points.append((lon, math.degrees(math.atan2(z, math.hypot(x, y)))))
    return points


def _west_edge(longitudes: Sequence[float]) -> float:
    """The western end of the shortest stretch of longitude that contains all of them."""
    around = sorted(lon % 360 for lon in longitudes)
    gaps = [(b - a, b) for a, b in pairwise(around)]
    west = max([*gaps, (around[0] + 360 - around[-1], around[0])])[1]
    return (west - 360 if west > 180 else west) - 1e-6  # rounding must not wrap the westernmost city around the globe


def _arc_path(arc: Sequence[tuple[float, float]], window: _Window) -> str:
    points = [window.at(*point) for point in arc]
    return f"M{points[0][0]} {points[0][1]}L" + " ".join(f"{x} {y}" for x, y in points[1:])


def _labels(names: dict[tuple[float, float], str]) -> list[Label]:
    """Place each name on the first side of its dot where it covers no other name or dot, and stays on the map."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in names]
    made = []
    for i, ((x, y), text) in enumerate(names.items()):
        others = taken[:i] + taken[i + 1 :]
        choices = _sides(text, x, y)
        fits = (
            (label, box)
            for label, box in choices
            if box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT
            if not any(_overlap(box, other) for other in others)
        )
        label, box = next(fits, choices[0] if x < WIDTH / 2 else choices[1])
        taken.append(box)
        made.append(label)
    return made


def _sides(text: str, x: float, y: float) -> list[tuple[Label, tuple[float, float, float, float]]]:
    """Positions of a name next to its dot, best first, each with the box that it fills."""
    wide = len(text) * _LETTER
    made = []
    for right, down, anchor in (
        (9, 4, "start"),
        (-9, 4, "end"),
        (0, -11, "middle"),
        (0, 19, "middle"),
        (9, -8, "start"),
        (-9, -8, "end"),
        (9, 16, "start"),
        (-9, 16, "end"),
    ):
        at_x, at_y = round(x + right, 1), round(y + down, 1)
        left = at_x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
        made.append((Label(text, at_x, at_y, anchor), (left, at_y - 11, left + wide, at_y + 3)))
    return made


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
