"""Studies of 10,000 calls with simulated outcomes: planning, the journal, `status`, memory, and 30 kills."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.measure import Measurement
from earwitness.errors import Outcome
from earwitness.study.design import design
from earwitness.study.file import parse_study
from earwitness.study.journal import Journal
from earwitness.study.retry import Ended
from earwitness.study.template import study_template
from testing.commands import EARWITNESS, REPOSITORY
from testing.study.files import BOTH_CODECS, TOR3, study_file

LARGE = study_template("published", "large").replace("repeats = 10 ", "repeats = 56 ")
"""10,080 calls."""
TWENTY = study_file("twenty", "[design]\nrepeats = 5\n", paths=[TOR3], codecs=BOTH_CODECS)


def _earwitness(*arguments: str) -> tuple[float, int]:
    """Wall time in s and peak memory in MiB of a command."""
    code = (
        "import resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *EARWITNESS, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begun, int(done.stdout) // 1024


def bench_large_study() -> list[Measurement]:
    """Bar 7."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        file, out = Path(scratch) / "study.toml", Path(scratch) / "out"
        file.write_text(LARGE)
        seconds, plan_mib = _earwitness("study", "plan", str(file))
        found.append(Measurement("study plan, 10,080 calls, the whole command", seconds, "s", 5.0))
        study = parse_study(LARGE)
        calls = design(study)
        begun = time.perf_counter()
        journal = Journal.create(out / "study" / "journal.sqlite", study.frozen(), calls)
        found.append(Measurement("journal made with 10,080 calls", time.perf_counter() - begun, "s"))
        journal.begin_run("{}")
        took = []
        for call in calls[:9_000]:
            begun = time.perf_counter()
            attempt = journal.begin(call)
            between = time.perf_counter()
            journal.end(call.position, call.call_id(attempt), Ended(Outcome.COMPLETED, True), study.retry, seconds=20.0)
            took += [between - begun, time.perf_counter() - between]
        milliseconds = np.array(took) * 1000
        found.append(
            Measurement("journal operation, 99th percentile", float(np.quantile(milliseconds, 0.99)), "ms", 5.0)
        )
        found.append(Measurement("journal operation, mean", float(np.mean(milliseconds)), "ms", 5.0))
        found.append(Measurement("journal operation, median", float(np.median(milliseconds)), "ms"))
        journal.end_run("finished")
        journal.close()
        seconds, status_mib = _earwitness("study", "status", str(out))
        found.append(Measurement("study status at 9,000 of 10,080 calls, the whole command", seconds, "s", 1.0))
        found.append(Measurement("peak memory, plan and status", max(plan_mib, status_mib), "MiB", 300.0))
        own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found.append(Measurement("peak memory, this process with plan and journal", own_mib, "MiB"))
    return found


def bench_run_of_1000_simulated_calls() -> list[Measurement]:
    """What the runner, journal and data set cost a call, and their memory: everything but the call itself."""
    with tempfile.TemporaryDirectory() as scratch:
        file, out = Path(scratch) / "study.toml", Path(scratch) / "out"
        file.write_text(TWENTY.replace("repeats = 5", "repeats = 250"))
        code = (
            "import resource, sys; sys.argv = sys.argv[1:]; from testing.study.simulated import main; main();"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, "simulated", str(file), str(out), "1", "0"],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        mib = int(done.stdout.split()[-1]) / 1024
    return [
        Measurement("1,000 calls that take no time: a call", seconds, "ms"),
        Measurement("peak memory of that run", mib, "MiB", 300.0),
    ]


def bench_killed_30_times() -> list[Measurement]:
    """Bar 2, with simulated calls: SIGKILL at 30 random moments of a 20-call study."""
    planned = {call.call_id(1) for call in design(parse_study(TWENTY))}
    with tempfile.TemporaryDirectory() as scratch:
        file, out = Path(scratch) / "study.toml", Path(scratch) / "out"
        file.write_text(TWENTY)
        done = subprocess.run(
            [sys.executable, "-m", "testing.study.killed", str(file), str(out), "30", "1"],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        )  # fmt: skip
        stored = {path.name for path in (out / "calls").iterdir()}
    return [
        Measurement("kills that struck a run under way, of 30", json.loads(done.stdout)["struck"], "kills"),
        Measurement("planned calls lost", len(planned - stored), "calls", 0),
        Measurement("calls stored that were not planned, or twice", len(stored - planned), "calls", 0),
    ]
