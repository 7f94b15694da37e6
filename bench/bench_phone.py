"""How punctual the built-in phone sends, seen by the kernel's stamps, while the whole lab runs."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.measure import Measurement
from testing.commands import INSIDE

_PTIME_MS = 20.0


def grid_deviations_ms(pcap: Path, source: str) -> np.ndarray:
    """Deviation of each RTP packet's kernel stamp from a 20 ms grid through the median packet, (n,) ms."""
    data = pcap.read_bytes()
    times, slots, at = [], [], 24
    while at < len(data):
        seconds, nanoseconds, kept, _ = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        from_source = packet[9] == 17 and ".".join(map(str, packet[12:16])) == source
        if from_source and struct.unpack_from("!H", packet, 20)[0] == 4000:
            times.append(seconds * 10**9 + nanoseconds)
            slots.append(struct.unpack_from("!I", packet, 32)[0])
    steps = (np.array(slots, dtype=np.int64) - slots[0]) / 160
    late = (np.array(times, dtype=np.int64) - times[0]) / 1e6 - steps * _PTIME_MS
    deviations: np.ndarray = late - np.median(late)
    return deviations


def bench_sending_grid() -> list[Measurement]:
    """Bar 6 of the first slice: p99 deviation from the 20 ms grid at most 2 ms while the lab runs."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(__file__).with_name("phone_inside_lab.py"))
        argv = [*INSIDE, sys.executable, script, folder]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the call in the lab failed: {done.stderr[-2000:]}")
        answer = json.loads(done.stdout)
        measurements = []
        for name, address, report in zip(
            ("caller", "callee"), ("10.77.1.1", "10.77.2.1"), answer["reports"], strict=True
        ):
            deviations = grid_deviations_ms(Path(folder) / f"{name}.pcap", address)
            note = f"{len(deviations)} packets, {report['scheduling']}, max {np.abs(deviations).max():.2f} ms"
            p99 = float(np.percentile(np.abs(deviations), 99))
            measurements.append(Measurement(f"{name}: p99 deviation, kernel stamps", p99, "ms", 2.0, note=note))
            own = report["sending"]["p99_ms"]
            measurements.append(Measurement(f"{name}: p99 deviation, as the phone says", own, "ms", 2.0))
            lost = report["packets_sent"] - len(deviations)
            measurements.append(Measurement(f"{name}: packets sent but not captured", lost, "packets", 0))
    measurements.append(Measurement("captures: dropped by the kernel", sum(answer["dropped"]), "packets", 0))
    measurements.append(Measurement("both phones ready after", answer["ready_s"], "s"))
    return measurements
