"""Spoilt data sets through report, query, export, whatif, blame and bundle: no traceback, no hang, at most 1 GiB.

`EARWITNESS_BENCH_SETS` (10,000) and `EARWITNESS_BENCH_SEED` (1): how many, from which seed on;
`EARWITNESS_BENCH_WORKERS` (2): at once. A seed that fails is told on standard error; one alone is run again by
`python -m testing.study.mutated_sets SEED`.
"""

from __future__ import annotations

import os
import sys
import time

from bench.measure import Measurement

SETS = int(os.environ.get("EARWITNESS_BENCH_SETS", "10000"))
SEED = int(os.environ.get("EARWITNESS_BENCH_SEED", "1"))
WORKERS = int(os.environ.get("EARWITNESS_BENCH_WORKERS", "2"))


def bench_data_sets() -> list[Measurement]:
    """So many spoilt data sets, each in a process of its own that runs all six commands on it."""
    from testing.study.mutated_sets import MOST_MEMORY_MIB, load, originals, run_seeds

    load()
    begin, failed, memory, longest = time.monotonic(), [], 0.0, (0.0, 0)
    with originals() as folder:
        for number, told in enumerate(run_seeds(range(SEED, SEED + SETS), folder, WORKERS), 1):
            memory, longest = max(memory, told.memory_mib), max(longest, (told.cpu_s, told.seed))
            for fault in told.faults:
                sys.stderr.write(f"seed {told.seed}: {fault}\n")
            failed += [told.seed] if told.faults else []
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number} of {SETS}, {len(failed)} failed")
    took = time.monotonic() - begin
    pace = f"{took:.0f} s, {took / SETS * 1000:.0f} ms each, {WORKERS} at once"
    note = f"seeds {SEED} to {SEED + SETS - 1}" + (f", failed: {failed[:20]}" if failed else "")
    return [
        Measurement("spoilt data sets", SETS, "", note=pace),
        Measurement("with a traceback, a hang, or a good call lost", len(failed), "", bar=0, note=note),
        Measurement("most memory of a process", memory, "MiB", bar=MOST_MEMORY_MIB),
        Measurement("most CPU time of all six commands", longest[0], "s", note=f"seed {longest[1]}"),
    ]


__all__ = ["bench_data_sets"]
