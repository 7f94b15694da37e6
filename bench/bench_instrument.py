"""Whether calls that the machine harmed are marked: busy loops on both processors, at every kind of priority."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from bench.measure import Measurement

CALLS = 2
HARM_MS = 2.0
"""A direction is harmed where its delay (99th percentile) or its jitter (mean) is more than this above that of the best
undisturbed call of the same path and direction: a tenth of a frame."""


def bench_hogs() -> list[Measurement]:
    """Bar 6 of studies: with a CPU hog on both cores the affected calls are marked, not silently reported."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "calls.json"
        argv = [sys.executable, "-m", "bench.hogs_inside_lab", str(out), str(CALLS)]
        subprocess.run(argv, check=True, timeout=1200)
        rows = pd.DataFrame(json.loads(out.read_text()))
    rows["direction"] = rows.groupby(["hog", "path"]).cumcount() % 2
    quiet = rows[rows["hog"] == "none"].groupby(["path", "direction"])[["owd_p99_ms", "jitter_mean_ms"]].min()
    found = []
    silent = 0
    for (hog, path), calls in rows.groupby(["hog", "path"], sort=False):
        base = quiet.xs(path, level="path").loc[calls["direction"]].to_numpy()
        excess = (calls[["owd_p99_ms", "jitter_mean_ms"]].to_numpy(dtype=float) - base).max(axis=1)
        # What was too disturbed to be measured at all did not complete: it is told as that.
        harmed = (excess > HARM_MS) & (calls["outcome"] == "completed")
        unmarked = int((harmed & (calls["instrument_ok"] != False)).sum())  # noqa: E712 -- may be None
        silent += unmarked
        said = calls["instrument_detail"].iloc[0]
        found.append(
            Measurement(
                f"{path}, hogs {hog}: largest harm",
                float(pd.Series(excess).max()),
                "ms",
                note=f"{int(harmed.sum())} of {len(calls)} directions harmed, {unmarked} of them unmarked; marked:"
                f" {int((calls['instrument_ok'] == False).sum())}; {said}",  # noqa: E712
            )
        )
    found.append(Measurement("harmed directions that were not marked", silent, "directions", 0))
    return found
