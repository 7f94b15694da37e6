"""Calls over the public network: one at a time, so many an hour, whichever command places them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earwitness.call.public_network import Politeness
from earwitness.cli.calling import check_network
from earwitness.errors import InputError


class Clock:
    """A clock that a test sets, seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_an_hour_has_so_many_calls_whoever_places_them(tmp_path: Path) -> None:
    clock = Clock()
    ledger = tmp_path / "state" / "calls.json"
    for _ in range(3):
        with Politeness(ledger, 3, clock).turn():
            clock.now += 600
    with pytest.raises(InputError, match="3 calls in the last hour, of 3 allowed"), Politeness(ledger, 3, clock).turn():
        pass
    clock.now = 1_000_000.0 + 3599
    with pytest.raises(InputError), Politeness(ledger, 3, clock).turn():
        pass
    clock.now += 2  # the first is an hour ago
    with Politeness(ledger, 3, clock).turn():
        pass
    with pytest.raises(InputError), Politeness(ledger, 3, clock).turn():
        pass
    assert ledger.stat().st_mode & 0o077 == 0


def test_one_call_at_a_time(tmp_path: Path) -> None:
    ledger = tmp_path / "calls.json"
    with Politeness(ledger).turn(), pytest.raises(InputError, match="another call is on"), Politeness(ledger).turn():
        pass
    assert len(json.loads(ledger.read_text())) == 1
    with Politeness(ledger).turn():
        pass


def test_a_call_that_fails_counts(tmp_path: Path) -> None:
    ledger = tmp_path / "calls.json"
    with pytest.raises(ValueError, match="no answer"), Politeness(ledger, 1).turn():
        raise ValueError("no answer")
    with pytest.raises(InputError, match="1 calls"), Politeness(ledger, 1).turn():
        pass


def test_a_damaged_ledger_or_a_clock_set_back_gives_no_free_calls(tmp_path: Path) -> None:
    ledger = tmp_path / "calls.json"
    ledger.write_text("[1, ")
    with pytest.raises(InputError, match="damaged"), Politeness(ledger).turn():
        pass
    clock = Clock()
    ledger.write_text(json.dumps([clock.now + 9e6] * 2))
    with pytest.raises(InputError), Politeness(ledger, 2, clock).turn():
        pass
    with pytest.raises(InputError):
        Politeness(ledger, 0)


def test_networks_that_do_not_go_together() -> None:
    check_network("lab", None, "tor")
    check_network("lab", Path("invitation.json"), "direct")
    check_network("public", Path("invitation.json"), "tor")
    for network, invitation, path in (("lab", Path("x"), "tor"), ("public", None, "tor"), ("moon", None, "tor")):
        with pytest.raises(InputError):
            check_network(network, invitation, path)
