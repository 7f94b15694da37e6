from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest, choose_relays


def relay(name: str, place: str, *flags: str, bandwidth: int = 0) -> Relay:
    fingerprint = name.encode().hex().upper().ljust(40, "0")
    country = place.rpartition(", ")[2]
    return Relay(name, fingerprint, "10.77.0.1", 9001, frozenset(flags), place, country, bandwidth)


RELAYS = [
    relay("auth", "Vienna, AT", "Guard", "Exit", "Authority"),
    relay("alpha", "Frankfurt am Main, DE", "Guard"),
    relay("beta", "Amsterdam, NL"),
    relay("gamma", "New York City, US", "Exit"),
    relay("delta", "Paris, FR", "Guard"),
    relay("epsilon", "London, GB", "Exit", "Guard"),
    relay("zeta", "Berlin, DE", "Exit", "BadExit"),
]


def names(request: CircuitRequest, relays: list[Relay] = RELAYS) -> list[str]:
    return [chosen.nickname for chosen in choose_relays(request, relays)]


@given(st.integers(2, 6), st.integers(0, 10_000))
def test_every_circuit_is_one_that_tor_would_call_sound(hops: int, seed: int) -> None:
    chosen = choose_relays(CircuitRequest(hops=hops, seed=seed), RELAYS)
    assert len({hop.fingerprint for hop in chosen}) == hops
    assert chosen[0].is_guard
    assert chosen[-1].is_exit
    assert "auth" not in [hop.nickname for hop in chosen]


@given(st.integers(0, 1000))
def test_same_seed_same_circuit_whatever_the_order_of_the_list(seed: int) -> None:
    request = CircuitRequest(seed=seed)
    assert choose_relays(request, RELAYS) == choose_relays(request, RELAYS[::-1])


def test_seeds_differ() -> None:
    assert len({tuple(names(CircuitRequest(seed=seed))) for seed in range(40)}) > 3


@pytest.mark.parametrize(
    "wish",
    ["alpha", "ALPHA", "$" + "616C706861".ljust(40, "0"), "frankfurt", "Frankfurt am Main", "Frankfurt am Main, DE"],
)
def test_relay_may_be_named_in_many_ways(wish: str) -> None:
    assert names(CircuitRequest(guard=wish))[0] == "alpha"


@pytest.mark.parametrize("wish", ["US", "us", "United States", "nyc", "gamma"])
def test_exit_by_country_or_short_name(wish: str) -> None:
    assert names(CircuitRequest(exit=wish))[-1] == "gamma"


def test_named_relay_may_lack_the_guard_flag() -> None:
    assert names(CircuitRequest(guard="beta"))[0] == "beta"


def test_named_hops_in_their_places() -> None:
    assert names(CircuitRequest(hops=4, guard="delta", middle="beta, alpha", exit="gamma")) == [
        "delta",
        "beta",
        "alpha",
        "gamma",
    ]


def test_constrained_hop_keeps_its_only_relay() -> None:
    # epsilon is the only exit left, and London's only relay: the guard in "GB" cannot have it.
    few = [r for r in RELAYS if r.nickname in ("alpha", "beta", "epsilon", "delta")]
    for seed in range(30):
        assert names(CircuitRequest(seed=seed), few)[-1] == "epsilon"


def test_free_draw_leaves_exits_to_the_last_hop() -> None:
    for seed in range(30):
        guard, middle, _ = choose_relays(CircuitRequest(seed=seed), RELAYS)
        assert not guard.is_exit
        assert not middle.is_exit


def test_bandwidth_weighs() -> None:
    heavy = [relay("slow", "Paris, FR", "Exit", bandwidth=1), relay("fast", "Paris, FR", "Exit", bandwidth=999)]
    exits = [names(CircuitRequest(hops=2, seed=seed), [RELAYS[1], *heavy])[-1] for seed in range(60)]
    assert exits.count("fast") > 50


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (CircuitRequest(guard="Atlantis"), "there are alpha"),
        (CircuitRequest(exit="alpha"), "it is not an exit; there are epsilon"),
        (CircuitRequest(exit="zeta"), "it is not an exit"),
        (CircuitRequest(hops=1), "at least 2"),
        (CircuitRequest(hops=2, middle="beta"), "0 middle relays"),
        (CircuitRequest(guard="alpha", middle="alpha"), "not enough different relays"),
        (CircuitRequest(hops=7), "not enough different relays"),
        (CircuitRequest(guard="auth"), "no relay has that name"),
    ],
)
def test_what_cannot_be_is_said_with_what_there_is(request_: CircuitRequest, says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose_relays(request_, RELAYS)
