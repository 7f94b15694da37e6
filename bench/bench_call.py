"""Bars of a measured call: truth, ceiling, sending; and what `earwitness demo` takes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.measure import Measurement
from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.score.listening import loopback
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from testing.commands import EARWITNESS


def bench_truth() -> list[Measurement]:
    """What a direct call measures against what the emulator did: delay of each packet, and exact losses."""
    found = []
    for link, lost in (("", 0.0), ("pattern=1/100,on=rtp", 0.01), ("pattern=3/100,on=rtp", 0.03)):
        found += _against_truth(link, lost)
    found += _against_truth("pattern=1/10,on=rtp,jitter=8", 0.10)
    found += _against_truth("delay=123,jitter=15,shape=uniform", 0.0, delay_ms=123.0)
    return found


def bench_ceiling() -> list[Measurement]:
    """Unimpaired direct calls: the score, and how far it is from the codec's own loop-back."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for spec, bar in (("g711u", 4.3), ("opus:24000", 4.2), ("gsm", 3.5)):
            rows = _call(folder, "--path", "direct", "--codec", spec)
            scores = [row["mos_lqo"] for row in rows]
            kind = codec(spec)
            alone = loopback(kind, speech(DEFAULT_SPEECH, kind.sample_rate).samples).pesq.mos_lqo
            found.append(Measurement(f"{spec} MOS-LQO, worse direction", min(scores), "MOS", bar, at_most=False))
            apart = max(abs(score - alone) for score in scores)
            found.append(Measurement(f"{spec} from its loop-back", apart, "MOS", 0.05))
    return found


def bench_demo() -> list[Measurement]:
    """The main job with everything installed."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        rows = _run("demo", "--out", f"{folder}/data")
        took_s = time.monotonic() - begun
        late = max(row["send_deviation_p99_ms"] for row in rows)
        report = Path(folder, "data", "report.html").stat().st_size
    done = sum(row["outcome"] == "completed" for row in rows) / 2
    return [
        Measurement("earwitness demo", took_s, "s", 240.0),
        Measurement("calls completed", done, "calls", 6.0, at_most=False),
        Measurement("sending, worst p99 off the grid", late, "ms", 2.0),
        Measurement("size of the report", report / 1e6, "MB"),
    ]


def _against_truth(link: str, lost: float, delay_ms: float | None = None) -> list[Measurement]:
    label = link or "unimpaired"
    with tempfile.TemporaryDirectory() as folder:
        rows = _call(folder, "--path", "direct", "--seconds", "10", "--link", link)
        call = next(iter(Dataset.open(f"{folder}/data").calls()))
        apart = np.concatenate([_delay_errors_ms(call, direction) for direction in ("to_callee", "to_caller")])
    found = [
        Measurement(f"delay against the log, p99 ({label})", float(np.quantile(apart, 0.99)), "ms", 0.5),
        Measurement(f"lost, from those declared ({label})", max(_miscount(row, lost) for row in rows), "packets", 0.0),
    ]
    if delay_ms is not None:
        middle = max(abs(row["owd_p50_ms"] - delay_ms) for row in rows)
        found.append(Measurement(f"median delay from the one injected ({label})", middle, "ms", 2.0))
    return found


def _miscount(row: dict[str, Any], lost: float) -> int:
    """How many packets more or fewer were lost than the pattern says."""
    return abs(int(row["packets_sent"]) - int(row["packets_received"]) - round(lost * int(row["packets_sent"])))


def _delay_errors_ms(call: StoredCall, direction: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Absolute difference between our one-way delay and the emulator's, each packet; the same packets in both."""
    trace = call.trace(direction)
    truth = call.truth()
    theirs = truth[(truth["rtp_ssrc"] == trace.ssrc) & (truth["fate"] == "delivered")].set_index("rtp_sequence")
    arrived = trace.take(trace.arrived)
    ours = pd.Series((arrived.arrived_ns - arrived.sent_ns) / 1e6, index=arrived.sequence % 65536)
    if set(ours.index) != set(theirs.index):
        raise AssertionError("the trace and the log tell of different packets")
    logged = (theirs["out_ns"] - theirs["in_ns"]).astype(float) / 1e6
    return np.asarray((ours - logged.loc[ours.index]).abs(), dtype=np.float64)


def _call(folder: str, *options: str) -> list[dict[str, Any]]:
    return _run("call", "--out", f"{folder}/data", *options)


def _run(*arguments: str) -> list[dict[str, Any]]:
    """Records of a command that must do well, in a lab of its own."""
    with tempfile.TemporaryDirectory() as runtime:
        done = subprocess.run(
            [*EARWITNESS, *arguments, "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "EARWITNESS_RUNTIME": runtime},
            timeout=600,
            check=False,
        )
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]
