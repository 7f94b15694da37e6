"""Whose turn it is to change how a tor attaches streams, and what a crash in between leaves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.tor.control_address import ControlAddress
from earwitness.tor.streams import my_turn


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlAddress:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return ControlAddress(path=tmp_path / "control")


def test_one_at_a_time(address: ControlAddress) -> None:
    inside = most = 0

    async def one() -> None:
        nonlocal inside, most
        async with my_turn(address) as turn:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.03)
            inside -= 1
            turn.restored = True

    async def scenario() -> None:
        await asyncio.gather(*(one() for _ in range(4)))

    asyncio.run(scenario())
    assert most == 1


def test_after_a_clean_turn_nothing_was_left_changed(address: ControlAddress, tmp_path: Path) -> None:
    async def scenario() -> list[bool]:
        seen = []
        for _ in range(2):
            async with my_turn(address) as turn:
                seen.append(turn.left_changed)
                turn.restored = True
        return seen

    assert asyncio.run(scenario()) == [False, False]
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_was_killed_leaves_a_mark_and_no_lock(address: ControlAddress) -> None:
    program = f"""
import asyncio, os, pathlib
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.streams import my_turn
async def main():
    async with my_turn(ControlAddress(path=pathlib.Path({str(address.path)!r}))):
        os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == -9

    async def scenario() -> bool:
        async with my_turn(address) as turn:
            turn.restored = True
            return turn.left_changed

    assert asyncio.run(scenario())
