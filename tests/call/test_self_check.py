"""Whether a call's instrument was good enough: each cause by itself, and how waits for processors are counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.archive.facts import SelfCheck
from earwitness.call.self_check import CpuWaits, complaint

GOOD = SelfCheck(
    emulator_late_p99_ms=0.1, emulator_late_max_ms=3.0, cpu_wait_mean_ms=0.3, cpu_wait_worst_ms=0.9, processes=("tor",)
)


def test_a_good_instrument_has_no_complaint() -> None:
    assert complaint(GOOD, 0.05, 0.4, 0) == ""
    assert complaint(SelfCheck(), 0.05, None, 0) == ""
    assert complaint(GOOD, None, None, 0) is None, "nothing was sent: nothing is said"


@pytest.mark.parametrize(
    ("changed", "send_p99", "send_max", "dropped", "said"),
    [
        ({}, 5.1, 6.0, 0, "sent off the grid by (99th percentile) 5.1 ms (5 permitted)"),
        ({}, 0.1, 21.0, 0, "sent off the grid by at most 21 ms (20 permitted)"),
        ({"emulator_late_p99_ms": 2.5}, 0.1, 0.2, 0, "the emulator was late by (99th percentile) 2.5 ms"),
        ({"emulator_late_max_ms": 25.0}, 0.1, 0.2, 0, "the emulator was late by at most 25 ms"),
        ({"cpu_wait_worst_ms": 7.0}, 0.1, 0.2, 0, "packets waited for processors, at worst for 7 ms"),
        ({}, 0.1, 0.2, 3, "the captures missed 3 packets"),
    ],
)
def test_each_cause_is_told(
    changed: dict[str, float], send_p99: float, send_max: float, dropped: int, said: str
) -> None:
    found = complaint(SelfCheck(**{**vars(GOOD), **changed}), send_p99, send_max, dropped)
    assert found is not None
    assert found.startswith(said)
    assert ";" not in found


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not count waits")
def test_waits_for_a_processor_are_those_of_the_process() -> None:
    """Two loops on one processor: each waits about as long as the other runs; one that sleeps waits for nothing."""
    loop = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    running = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2)]
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    async def watch(pid: int) -> tuple[float, float] | None:
        waits = CpuWaits({"it": pid})
        async with waits.watched():
            await asyncio.sleep(1.0)
        return waits.summary()

    try:
        busy = asyncio.run(watch(running[0].pid))
        idle = asyncio.run(watch(sleeper.pid))
    finally:
        for process in (*running, sleeper):
            process.kill()
            process.wait()
    assert busy is not None
    assert busy[1] >= busy[0] > 0.2
    assert idle == (0.0, 0.0)
    assert CpuWaits({}).summary() is None
