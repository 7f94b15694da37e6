"""A real study in the lab, killed (SIGKILL) at 30 random moments and resumed each time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from bench.bench_study import TWENTY
from bench.commands import started
from bench.measure import Measurement
from earwitness.archive.dataset import Dataset
from earwitness.study.design import design, of_call_id
from earwitness.study.file import parse_study
from testing.commands import EARWITNESS
from testing.netns.leftovers import Token, machine_state

KILLS = 30
BOOT_S = 12.0
CALLS_S = 24.0
"""Every fifth kill strikes within `BOOT_S` of the start, about the time that a lab with Tor takes to be up; the others
within `CALLS_S` of the lab's being up. The first call of a run is stored 10 to 20 s after that (its scoring process has
to start), each further one 8 s later, so they strike calls, scoring and storing alike."""
SEED = 7
STUDY = (
    TWENTY.replace("twenty", "kills")
    + "[call]\nseconds = 4.0\n"
    + "[retry]\ninstrument = 1\n"  # a marked call stays: what is counted here is kills
)
_GONE_WITHIN_S = 10.0
_TIMEOUT_S = 1200.0


def bench_over_tor() -> list[Measurement]:
    """Bar 2 of studies: exactly 20 completed calls, those planned, none lost or doubled; nothing left behind."""
    return _killed(STUDY)


def bench_without_tor() -> list[Measurement]:
    """The same without Tor, whose lab is up in a second or two, so that kills strike calls more than boots."""
    return _killed(STUDY.replace('name = "tor3"\npath = "tor"', 'name = "tcp"\npath = "tcp"'))


def _killed(text: str) -> list[Measurement]:
    planned = {call.position for call in design(parse_study(text))}
    token, chance = Token(), random.Random(SEED)
    before = machine_state()
    struck = left = runs = 0
    done_at_kill = []
    with tempfile.TemporaryDirectory() as scratch:
        file, out = Path(scratch) / "study.toml", Path(scratch) / "out"
        file.write_text(text)
        environment = {**token.environment, "EARWITNESS_RUNTIME": str(Path(scratch) / "runtime")}
        argv = [*EARWITNESS, "study", "run", str(file), "--out", str(out), "--no-report"]
        begun = time.monotonic()
        while True:
            runs += 1
            said: list[str] = []
            up = threading.Event()
            with started(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                listener = threading.Thread(target=_listen, args=(process, said, up))
                listener.start()
                if struck < KILLS:
                    if struck % 5:
                        up.wait(_TIMEOUT_S)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(chance.uniform(0.3, CALLS_S if struck % 5 else BOOT_S))
                    process.kill()
                process.wait(_TIMEOUT_S)
                listener.join()
            if process.returncode >= 0:
                break
            struck += 1
            left += not _gone(token)
            done_at_kill.append(len(list(out.glob("calls/*"))))
            print(f"kill {struck}: {done_at_kill[-1]} calls stored", file=sys.stderr, flush=True)
        seconds = time.monotonic() - begun
        if process.returncode != 0:
            raise RuntimeError(f"the study did not end well: {said[-5:]}")
        rows = Dataset.open(out).rows()
        completed = sorted(set(rows[rows["outcome"] == "completed"]["call_id"]))
        staging = list(out.glob(".staging/*"))
    counts = Counter(found[0] for name in completed if (found := of_call_id("kills", name)) is not None)
    after = machine_state()
    return [
        Measurement("kills that struck a run under way", struck, "kills", KILLS, at_most=False, note=f"{runs} runs"),
        Measurement("of them with calls stored already", sum(number > 0 for number in done_at_kill), "kills"),
        Measurement("completed calls", len(completed), "calls", len(planned), at_most=False),
        Measurement("planned calls lost", len(planned - counts.keys()), "calls", 0),
        Measurement("calls doubled, or not planned", len(completed) - len(planned & counts.keys()), "calls", 0),
        Measurement("attempts that failed", rows[rows["outcome"] != "completed"]["call_id"].nunique(), "calls"),
        Measurement("half calls left in the data set", len(staging), "folders", 0),
        Measurement("kills after which a process was left", left, "kills", 0),
        Measurement(
            "mounts, namespaces, devices, /run changed", sum(before[k] != after[k] for k in before), "kinds", 0
        ),
        Measurement("time in all", seconds, "s", note=f"{os.cpu_count()} cores"),
    ]


def _listen(process: subprocess.Popen[str], said: list[str], up: threading.Event) -> None:
    """Take in what it says, and tell when its lab is up, or it has ended."""
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.rstrip())
        if "the lab is up" in line:
            up.set()
    up.set()


def _gone(token: Token) -> bool:
    """Whether nothing that bears the mark runs; the kernel may need a moment to end it all."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while left := token.processes():
        if time.monotonic() > deadline:
            print(f"left: {left}", file=sys.stderr)
            return False
        time.sleep(0.1)
    return True
