"""Circuits that outlive the command that built them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from earwitness.call.plan import CallPlan
from earwitness.errors import InputError
from earwitness.path.circuit_cache import CachedCircuit, CircuitCache
from earwitness.tor.control import Circuit
from earwitness.tor.select import CircuitRequest

REQUEST = CircuitRequest(3, "Paris", None, "relay8", seed=1)


def circuit(number: int, *relays: str) -> Circuit:
    """As tor tells of one that it built."""
    made = Circuit(number)
    made.fingerprints = relays
    return made


def test_another_command_finds_it_whatever_its_seed(tmp_path: Path) -> None:
    file = tmp_path / "lab" / "kept.json"
    CircuitCache(file).remember("caller", REQUEST, circuit(7, "A" * 40, "B" * 40, "C" * 40))
    CircuitCache(file).remember("caller2", REQUEST, circuit(9, "D" * 40))
    found = CircuitCache(file)
    assert found.recall("caller", replace(REQUEST, seed=2)) == CachedCircuit(7, ("A" * 40, "B" * 40, "C" * 40))
    assert found.recall("caller2", REQUEST) == CachedCircuit(9, ("D" * 40,))


@pytest.mark.parametrize("other", [{"hops": 4}, {"guard": None}, {"middle": "relay2"}, {"exit": "relay7"}])
def test_another_request_has_another_circuit(tmp_path: Path, other: dict[str, object]) -> None:
    kept = CircuitCache(tmp_path / "kept.json")
    kept.remember("caller", REQUEST, circuit(7, "A" * 40))
    assert kept.recall("caller", replace(REQUEST, **cast(Any, other))) is None
    assert kept.recall("callee", REQUEST) is None


@pytest.mark.parametrize("damaged", ["", "[]", '{"x": 3}', "{", '{"x": ["a"]}'])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "kept.json"
    file.write_text(damaged)
    assert CircuitCache(file).recall("caller", REQUEST) is None
    CircuitCache(file).remember("caller", REQUEST, circuit(7, "A" * 40))
    assert CircuitCache(file).recall("caller", REQUEST) == CachedCircuit(7, ("A" * 40,))


def test_an_onion_path_has_no_circuit_of_ours_to_keep() -> None:
    assert CallPlan(path="vpn-tor", keep_circuit=True).keep_circuit
    with pytest.raises(InputError, match="tor chooses it"):
        CallPlan(path="onion", keep_circuit=True)
