"""Import of the published folder: where its CPU time goes, what memory it takes, and what a second process gives."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Measurement
from testing.published.folder import PUBLISHED

_ABSENT = Measurement(
    "not measured: no published data", float("nan"), "", note=f"set EARWITNESS_PUBLISHED ({PUBLISHED})"
)

_RUN = """
import resource, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from earwitness.published.importing import import_folder
from earwitness.score import pesq
folder, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
inside, real = [0.0], pesq.pesq_nb
def timed(*arguments):
    begin = time.process_time()
    try:
        return real(*arguments)
    finally:
        inside[0] += time.process_time() - begin
if workers == 1:
    pesq.pesq_nb = timed
begin, cpu = time.perf_counter(), time.process_time()
if workers == 1:
    summary = import_folder(folder, out, as_published=True)
else:
    with ProcessPoolExecutor(workers) as pool:
        summary = import_folder(folder, out, as_published=True, executor=pool)
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
print(time.perf_counter() - begin, time.process_time() - cpu, inside[0], peak, summary.calls_imported)
"""


def _import(folder: Path, workers: int) -> tuple[float, float, float, float, int]:
    """Import in a process of its own: wall s, CPU s, CPU s within PESQ, peak MiB of the largest process, calls."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", _RUN, str(folder), str(Path(scratch) / "set"), str(workers)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, cpu, inside, peak, calls = text.split()
    return float(wall), float(cpu), float(inside), float(peak), int(calls)


def bench_whole_folder() -> list[Measurement]:
    """CPU share of PESQ, memory, and the gain of a second process, on the published sample."""
    if not (PUBLISHED / "05-data").is_dir():
        return [
            Measurement("no published data here", float("nan"), "", note=f"set EARWITNESS_PUBLISHED, not {PUBLISHED}")
        ]
    wall, cpu, inside, peak, calls = _import(PUBLISHED, 1)
    pairs = [(wall, _import(PUBLISHED, 2)[0])]
    # Side by side and repeated: other work on the machine must not decide.
    pairs += [(_import(PUBLISHED, 1)[0], _import(PUBLISHED, 2)[0]) for _ in range(2)]
    gain = max(one / two for one, two in pairs)
    tried = ", ".join(f"{one:.1f}/{two:.1f} s" for one, two in pairs)
    return [
        Measurement("calls imported", calls, "calls", note=f"{wall:.1f} s wall, {cpu:.1f} s CPU, one process"),
        Measurement("CPU time inside PESQ", inside / cpu, "of all", bar=0.85, at_most=False),
        Measurement("peak memory, one process", peak, "MiB", bar=400),
        Measurement("two processes over one", gain, "times", bar=1.8, at_most=False, note=f"best of {tried}"),
    ]


def bench_memory_of_many_files() -> list[Measurement]:
    """Peak memory with 20 times the files: captures alone, so that it stays short."""
    if not (PUBLISHED / "05-data").is_dir():
        return [
            Measurement("no published data here", float("nan"), "", note=f"set EARWITNESS_PUBLISHED, not {PUBLISHED}")
        ]
    captures = sorted((PUBLISHED / "05-data" / "Sample-Raw-Data" / "Tor").rglob("*.pcap"))
    measurements = []
    for copies in (1, 20):
        with tempfile.TemporaryDirectory() as scratch:
            for copy in range(copies):
                for number, capture in enumerate(captures):
                    (Path(scratch) / f"{copy}-{number}.pcap").symlink_to(capture)
            _, cpu, _, peak, calls = _import(Path(scratch), 1)
        measurements.append(
            Measurement(
                f"peak memory, {calls} captures", peak, "MiB", bar=400, note=f"{1000 * cpu / calls:.1f} ms CPU a call"
            )
        )
    return measurements


__all__ = ["bench_memory_of_many_files", "bench_whole_folder"]
