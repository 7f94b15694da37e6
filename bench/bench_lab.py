"""The emulator through real TUN devices: how precise it delays, how much it carries; how soon a lab is up."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.measure import Measurement
from testing.commands import INSIDE


def _inside(what: str, **arguments: Any) -> dict[str, Any]:
    script = str(Path(__file__).with_name("emulator_inside_lab.py"))
    argv = [*INSIDE, sys.executable, script, what, json.dumps(arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{what} in the lab failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def bench_emulator_precision() -> list[Measurement]:
    """Bar 3: 5,000 packets at 50 ms. Error: the receiver's kernel stamp less the time before sending, less 50 ms."""
    run = _inside("deliver", count=5000, packets_per_s=500.0, burst=1, delay_ms=50.0)
    late = run["statistics"]["lateness"]
    note = f"p99.9 {run['error_p999_ms']:.3f}, max {run['error_max_ms']:.3f} ms"
    own = f"p99.9 {late['p999_ms']:.3f}, max {late['max_ms']:.3f} ms"
    return [
        Measurement("bias (median error) at 50 ms", abs(run["bias_ms"]), "ms", 0.2),
        Measurement("p99 of the absolute error at 50 ms", run["error_p99_ms"], "ms", 0.5, note=note),
        Measurement("p99 of lateness, by the emulator's own count", late["p99_ms"], "ms", note=own),
        Measurement("packets not delivered", run["sent"] - run["received"], "packets", 0),
    ]


def bench_emulator_throughput() -> list[Measurement]:
    """Bar 3: at least 20,000 packets/s on one core (the emulator is one thread), offered steadily and as a flood."""
    steady = _inside("deliver", count=50_000, packets_per_s=25_000.0, burst=25, delay_ms=50.0)
    share = steady["cpu_s"] / (steady["sent"] / steady["sent_per_s"])
    lost = steady["sent"] - steady["forwarded"]
    p99 = steady["statistics"]["lateness"]["p99_ms"]
    flood = _inside("deliver", count=200_000, packets_per_s=1e9, burst=1000, delay_ms=50.0)
    return [
        Measurement("steady load carried", steady["forwarded_per_s"], "packets/s", 20_000, at_most=False),
        Measurement("packets lost under the steady load", lost, "packets", 0, note=f"lateness p99 {p99:.3f} ms"),
        Measurement("share of one core under the steady load", 100 * share, "%"),
        Measurement("flood carried", flood["forwarded_per_s"], "packets/s", 20_000, at_most=False),
    ]


def bench_boot_without_tor() -> list[Measurement]:
    """A lab for direct calls is up in 1.5 s (median of 5)."""
    times = [_inside("boot")["boot_s"] for _ in range(5)]
    return [
        Measurement("lab without tor is up after", statistics.median(times), "s", 1.5, note=f"max {max(times):.2f}")
    ]
