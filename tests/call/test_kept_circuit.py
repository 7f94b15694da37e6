"""One circuit for several calls, each a command of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testing.commands import Run

pytestmark = pytest.mark.lab


@pytest.mark.usefixtures("tor_lab")
def test_the_next_command_finds_the_circuit_unless_it_is_gone(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    found: list[tuple[str, bool]] = []
    # The third finds it and closes it under its call; the fourth has to build another, which the last does anyway.
    for seed, more in enumerate(
        (
            ["--keep-circuit"],
            ["--keep-circuit"],
            ["--keep-circuit", "--inject", "close-circuit@0.5"],
            ["--keep-circuit"],
            [],
        )
    ):
        before = set(data.glob("calls/*/record.json"))
        ran = run("call", "--hops", "2", "--seconds", "4", "--seed", str(seed), "--out", str(data), *more)
        assert ran.code == (3 if "--inject" in more else 0), ran.messages
        (path,) = set(data.glob("calls/*/record.json")) - before
        record = json.loads(path.read_text())
        found.append((record["circuit"]["id"], record["path_details"]["circuit_kept"]))
    first, second, third, fourth, last = found
    assert [kept for _, kept in found] == [False, True, True, False, False]
    assert first[0] == second[0] == third[0]
    assert len({first[0], fourth[0], last[0]}) == 3
