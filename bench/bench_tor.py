"""The private Tor network's boot, and what the forwarders add to a datagram's way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import Measurement

BOOTS = 5
DATAGRAMS = 1000


def bench_boot() -> list[Measurement]:
    """Seconds from nothing to the first usable client circuit."""
    boots = [_inside("boot")["circuit"] for _ in range(BOOTS)]
    note = ", ".join(f"{seconds:.1f}" for seconds in boots)
    return [Measurement("tor: first usable client circuit, median", statistics.median(boots), "s", 20.0, note=note)]


def bench_forwarders() -> list[Measurement]:
    """One-way delay of `tcp` (two forwarders) less that of `direct`, over the same unimpaired link."""
    delays = _inside("forwarders")
    added = delays["tcp"]["p50"] - delays["direct"]["p50"]
    note = ", ".join(f"{name} p50 {delay['p50']:.3f}, p99 {delay['p99']:.3f} ms" for name, delay in delays.items())
    return [Measurement("path: delay added by one forwarder, median", added / 2, "ms", 0.3, note=note)]


def _inside(what: str) -> Any:
    """Run this file in a sandbox of its own and read what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.json"
        argv = [sys.executable, "-m", "bench.bench_tor", what, str(out)]
        subprocess.run(argv, check=True, timeout=300, cwd=Path(__file__).resolve().parent.parent)
        return json.loads(out.read_text())


async def _boot() -> dict[str, float]:
    from earwitness.lab.lab import Lab
    from earwitness.lab.plan import LabPlan

    async with Lab.started(LabPlan()) as lab:
        assert lab.private_tor is not None
        return dict(lab.private_tor.boot_s)


async def _forwarders() -> dict[str, dict[str, float]]:
    from earwitness.lab.lab import Lab
    from earwitness.lab.plan import LabPlan
    from earwitness.path.base import PhonePorts
    from earwitness.path.direct import DirectPath
    from earwitness.path.local_callee import LocalCallee
    from earwitness.path.tcp import TcpPath

    plan = LabPlan(with_tor=False, links={"*": "delay=5"})
    async with Lab.started(plan) as lab, contextlib.AsyncExitStack() as stack:
        ends = (lab.host("caller"), LocalCallee(lab.host("callee")), PhonePorts())
        paths = {
            "direct": await stack.enter_async_context(DirectPath().open(*ends)),
            "tcp": await stack.enter_async_context(TcpPath().open(*ends)),
        }
        delays: dict[str, list[float]] = {name: [] for name in paths}
        loop = asyncio.get_running_loop()
        senders: dict[str, socket.socket] = {}
        for name, path in paths.items():
            with path.caller.host.inside():
                senders[name] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with path.callee.host.inside():
                receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            senders[name].bind((path.caller.address, 4000))
            receiver.bind((path.callee.address, 4000))
            receiver.setblocking(False)

            def take(name: str = name, receiver: socket.socket = receiver) -> None:
                sent = int.from_bytes(receiver.recv(2048)[:8], "big")
                delays[name].append((time.monotonic_ns() - sent) / 1e6)

            loop.add_reader(receiver, take)
        for number in range(DATAGRAMS):
            # Turn about, so that both meet the same moments of a busy machine.
            name = ("direct", "tcp")[number % 2]
            now = time.monotonic_ns().to_bytes(8, "big")
            senders[name].sendto(now + bytes(164), (paths[name].callee.address, 4000))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
    return {
        name: {"p50": statistics.median(those), "p99": statistics.quantiles(those, n=100)[98]}
        for name, those in delays.items()
    }


if __name__ == "__main__":
    from earwitness.netns.sandbox import in_sandbox, rerun_inside

    if not in_sandbox():
        raise SystemExit(rerun_inside())
    measured = asyncio.run({"boot": _boot, "forwarders": _forwarders}[sys.argv[1]]())
    Path(sys.argv[2]).write_text(json.dumps(measured))
