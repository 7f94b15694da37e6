"""The table of docs/nodelay.md from a data set: `.venv/bin/python tools/nodelay_table.py DATASET`.

For each path and its relays' option: mean jitter, delay, the delay's excess over the sum of the emulated links, and the
sizes of the bursts that packets arrive in, with 95 % intervals that resample calls.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.geography import delay_ms, place
from earwitness.trace.bursts import bursts

MEASURES = ("jitter_mean_ms", "owd_p50_ms", "owd_p95_ms", "above_links_ms", "mos_lqo")
BURSTS = ("alone", "of_2", "of_3", "of_4", "of_5_and_more")


def rows(call: StoredCall) -> Iterator[dict[str, object]]:
    """One row a direction."""
    record = call.record
    assert record.circuit is not None
    stops = [record.caller.place, *(relay.place for relay in record.circuit.relays), record.callee.place]
    links_ms = sum(delay_ms(place(here), place(there)) for here, there in pairwise(stops))
    for row in call.rows:
        shares = bursts(call.trace(row.direction)).shares()
        figures = {name: getattr(row, name, None) for name in MEASURES}
        above = {"above_links_ms": None if row.owd_p50_ms is None else row.owd_p50_ms - links_ms}
        yield {
            "arm": f"{record.path}, {len(record.circuit.relays)} hops, {'no delay' if row.relay_nodelay else 'stock'}",
            "call": record.call_id,
            "instrument_ok": row.instrument_ok,
            **figures,
            **above,
            **dict(zip(BURSTS, shares, strict=True)),
        }


def interval(by_call: pd.Series) -> tuple[float, float]:
    """Of the mean over calls, 95 %, by resampling them 5,000 times."""
    values = by_call.to_numpy(dtype=float)
    means = np.random.default_rng(1).choice(values, (5000, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Print it."""
    calls = [call for call in Dataset.open(Path(sys.argv[1])).calls() if call.record.outcome == "completed"]
    table = pd.DataFrame([row for call in calls for row in rows(call)])
    sound = table.groupby("call")["instrument_ok"].transform("all")
    print(f"{len(calls)} calls completed; {table.loc[~sound, 'call'].nunique()} that the instrument doubts left out")
    table = table[sound]
    for arm, those in table.groupby("arm"):
        print(f"\n{arm}: {those['call'].nunique()} calls")
        for name in (*MEASURES, *BURSTS):
            values = those[name].astype(float)
            low, high = interval(values.groupby(those["call"]).mean())
            print(f"  {name:16} {values.mean():8.3f}  [{low:.3f}, {high:.3f}]  largest {values.max():.3f}")


if __name__ == "__main__":
    main()
