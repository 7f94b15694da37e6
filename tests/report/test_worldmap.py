from __future__ import annotations

import re
from itertools import combinations, pairwise

import pytest

from earwitness.report.worldmap import HEIGHT, WIDTH, land, stops, world_map


def _way(*cities: str) -> list[tuple[str, str, str]]:
    return [(f"relay{i}", city, "") for i, city in enumerate(cities)]


@pytest.mark.parametrize(
    ("ends", "relays"),
    [
        (("Frankfurt", "New York"), ()),
        (("Frankfurt", "Paris"), ("London",)),
        (("Tokyo", "San Francisco"), ("Sydney", "Auckland", "Honolulu")),
        (("Osaka", "Lima"), ("Mumbai", "Cape Town", "Oslo")),
        (("Frankfurt", "Frankfurt"), ("Oslo", "Oslo")),
    ],
)
def test_every_city_is_on_the_map_and_no_label_covers_another(ends: tuple[str, str], relays: tuple[str, ...]) -> None:
    drawn = world_map(stops(ends, _way(*relays)))
    assert drawn is not None
    assert len(drawn.dots) == len({*ends, *relays})
    for x, y, _ in drawn.dots:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    for a, b in combinations(drawn.labels, 2):
        assert abs(a.y - b.y) > 10 or abs(a.x - b.x) > 10
    assert drawn.transforms
    route = re.findall(r"(-?[\d.]+) (-?[\d.]+)", drawn.route.replace("M", " ").replace("L", " "))
    assert len(route) >= 2
    for x, y in route:
        assert -WIDTH * 0.05 <= float(x) <= WIDTH * 1.05
        assert float(y) <= HEIGHT


def test_a_route_over_the_pacific_does_not_go_around_the_world() -> None:
    drawn = world_map(stops(("Tokyo", "San Francisco"), ()))
    assert drawn is not None
    x = [float(value) for value in re.findall(r"(?<=[ML ])(-?[\d.]+) -?[\d.]+", drawn.route)]
    assert len(x) > 2
    assert all(abs(a - b) < 40 for a, b in pairwise(x))
    assert len(drawn.transforms) == 2, "land from both sides of the antimeridian"


def test_distances_and_roles() -> None:
    way = stops(("Frankfurt", "New York"), _way("Oslo", "Madrid", "Chicago"))
    assert [stop.role for stop in way] == ["caller", "guard", "middle", "exit", "callee"]
    assert way[-1].km_from_last == pytest.approx(1145, rel=0.02)
    assert way[0].country == "DE"


def test_a_place_that_nobody_knows_is_kept_without_a_map() -> None:
    way = stops(("Nowhere-at-all", "Qqqqq"), ())
    assert [stop.place for stop in way] == [None, None]
    assert world_map(way) is None


def test_the_land_is_where_it_is() -> None:
    outline = land()
    assert len(outline) < 20_000
    assert re.fullmatch(r"[Mlz \d-]+", outline)
