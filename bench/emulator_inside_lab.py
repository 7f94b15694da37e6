"""Run inside a sandbox: packets through the emulator between two hosts of a lab; what came of them as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.emulator.link_profile import LinkProfile
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan

PORT = 4000
PACKET_BYTES = 172

RECEIVER = """
import socket, struct, sys
import numpy as np
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)
receiver.setsockopt(socket.SOL_SOCKET, 35, 1)
receiver.bind(("", int(sys.argv[1])))
print("ready", flush=True)
receiver.settimeout(20)
rows = []
try:
    while True:
        data, control, _, _ = receiver.recvmsg(2048, 128)
        seconds, nanoseconds = struct.unpack_from("qq", control[0][2])
        rows.append((struct.unpack_from("q", data)[0], seconds * 10**9 + nanoseconds))
        receiver.settimeout(1.0)
except TimeoutError:
    np.save(sys.argv[2], np.array(rows, dtype=np.int64))
"""


async def deliver(count: int, packets_per_s: float, burst: int, delay_ms: float) -> dict[str, Any]:
    """Send `count` packets in bursts; sent and received stamps (ns since the epoch) and the emulator's statistics."""
    async with Lab.started(LabPlan(with_tor=False)) as lab:
        caller, callee = lab.host("caller"), lab.host("callee")
        lab.set_link("caller", "callee", LinkProfile(delay_ms=delay_ms))
        out = lab.state_dir / "received.npy"
        receiver = callee.popen([sys.executable, "-c", RECEIVER, str(PORT), str(out)], stdout=subprocess.PIPE)
        assert receiver.stdout is not None
        receiver.stdout.readline()
        with caller.inside():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect((callee.address, PORT))
        padding = bytes(PACKET_BYTES - 8)
        cpu_before = emulator_cpu_s()
        begun = time.monotonic()
        for first in range(0, count, burst):
            for _ in range(min(burst, count - first)):
                sender.send(struct.pack("q", time.time_ns()) + padding)
            time.sleep(max(0.0, begun + (first + burst) / packets_per_s - time.monotonic()))
        sending_s = time.monotonic() - begun
        await asyncio.sleep(delay_ms / 1e3 + 0.5)
        cpu_s = emulator_cpu_s() - cpu_before
        receiver.wait()
        rows = np.load(out)
        errors_ms = (rows[:, 1] - rows[:, 0]) / 1e6 - delay_ms
        log = lab.truth("caller", "callee")
        left = log["out_ns"].dropna()
        return {
            "sent": count,
            "sent_per_s": count / sending_s,
            "received": len(rows),
            "bias_ms": float(np.median(errors_ms)),
            "error_p99_ms": float(np.percentile(np.abs(errors_ms), 99)),
            "error_p999_ms": float(np.percentile(np.abs(errors_ms), 99.9)),
            "error_max_ms": float(np.abs(errors_ms).max()),
            "forwarded": len(left),
            "forwarded_per_s": (len(left) - 1) / ((left.max() - left.min()) / 1e9),
            "cpu_s": cpu_s,
            "device_drops": caller.device_drops(),
            "statistics": lab.emulator.statistics(),
        }


async def boot() -> dict[str, float]:
    """Seconds until a lab without tor is up, once imported."""
    begun = time.monotonic()
    async with Lab.started(LabPlan(with_tor=False)):
        return {"boot_s": time.monotonic() - begun}


def emulator_cpu_s() -> float:
    """Processor time that the emulator has used (proc(5) stat fields 14 and 15)."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and b"earwitness.emulator\0" in (directory / "cmdline").read_bytes():
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise RuntimeError("the emulator is not there")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(globals()[sys.argv[1]](**json.loads(sys.argv[2])))))
