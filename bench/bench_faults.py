"""Real studies in the lab that meet trouble: tor killed, disk full, clock stepped, the directory copied in mid-write.

Root only where a disk is filled (a tmpfs of its own is mounted). The machine's clock is never touched: the wall clock
is stepped for the processes of the study alone (`testing/study/stepped_clock.c`).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.commands import until
from bench.measure import Measurement
from earwitness.archive.dataset import Dataset
from earwitness.study.design import design
from earwitness.study.file import parse_study
from testing.commands import EARWITNESS
from testing.netns.leftovers import Token
from testing.study.stepping import SteppedClock

DIRECT = '[[path]]\nname = "direct"\npath = "direct"\n'
TOR = '[[path]]\nname = "tor3"\npath = "tor"\n'
REST = """[axes]
codec = ["g711u"]
places = [["Frankfurt", "London"]]
[call]
seconds = 4.0
[retry]
instrument = 1
backoff_s = 1.0
[design]
repeats = 4
"""
_TIMEOUT_S = 400.0


class Running:
    """A study under way, in a directory of its own."""

    def __init__(self, folder: Path, paths: str, environment: Mapping[str, str] | None = None) -> None:
        self.token = Token()
        self.text = f'version = 1\nname = "faults"\n{paths}{REST}'
        self.out = folder / "out"
        self._file = folder / "study.toml"
        self._file.write_text(self.text)
        self._environment = {
            **self.token.environment,
            **(environment or {}),
            "EARWITNESS_RUNTIME": str(folder / "runtime"),
            "COLUMNS": "200",
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, out: Path | None = None) -> subprocess.Popen[str]:
        """Run it, or resume it, here or in a copy of its directory."""
        argv = [*EARWITNESS, "study", "run", str(self._file), "--out", str(out or self.out), "--no-report"]
        self.process = subprocess.Popen(argv, env=self._environment, text=True, stderr=subprocess.PIPE)
        return self.process

    def until_talking(self, arm: str) -> None:
        """Wait until a call over this path is on the air."""
        self._until(lambda: any(f.stat().st_size > 20_000 for f in self.out.glob(f".staging/*-{arm}-*/caller.pcap")))

    def until_stored(self, count: int) -> None:
        """Wait until so many calls are in the data set."""
        self._until(lambda: len(list(self.out.glob("calls/*"))) >= count)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said, once it has ended."""
        assert self.process is not None
        _, said = self.process.communicate(timeout=_TIMEOUT_S)
        return self.process.returncode, said

    def missing(self, out: Path | None = None) -> tuple[int, int]:
        """Planned calls that did not complete, and completed ones beyond one each."""
        rows = Dataset.open(out or self.out).rows()
        done = [name.rsplit("-a", 1)[0] for name in set(rows[rows["outcome"] == "completed"]["call_id"])]
        planned = {call.call_id(1).rsplit("-a", 1)[0] for call in design(parse_study(self.text))}
        return len(planned - set(done)), len(done) - len(set(done) & planned)

    def _until(self, holds: Callable[[], bool]) -> None:
        def holds_now() -> bool:
            with contextlib.suppress(FileNotFoundError):  # it was staged, and now it is stored
                return holds()
            return False

        assert self.process is not None
        try:
            until(holds_now, _TIMEOUT_S, self.process, look_s=0.01)
        except RuntimeError as error:
            self.process.kill()
            raise RuntimeError(f"{error}: {self.end()[1]}") from error


@contextlib.contextmanager
def _study(paths: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        running = Running(Path(folder), paths, environment)
        try:
            yield running
        finally:
            if running.process is not None and running.process.poll() is None:
                running.process.kill()
                running.process.wait()


def _whole(study: Running, code: int, out: Path | None = None) -> list[Measurement]:
    lost, doubled = study.missing(out)
    return [
        Measurement("exit code of the run that ended it", code, "", 0),
        Measurement("planned calls not completed", lost, "calls", 0),
        Measurement("completed calls doubled or unplanned", doubled, "calls", 0),
    ]


def bench_tor_killed() -> list[Measurement]:
    """The caller's tor is killed in mid-call: the lab is started again, and the study completes by itself."""
    with _study(TOR) as study:
        study.start()
        study.until_stored(1)
        study.until_talking("tor3")
        for pid in study.token.processes():
            with contextlib.suppress(OSError):
                if b"/tor/caller/torrc" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        code, said = study.end()
        again = said.count("the lab is started again")
        return [Measurement("labs started again", again, "labs", 1, at_most=False), *_whole(study, code)]


def bench_disk_full() -> list[Measurement]:
    """The data set's disk fills up: the study stops in one line, and completes once there is room."""
    with _study(DIRECT) as study:
        study.out.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(study.out)], check=True)
        try:
            study.start()
            code, said = study.end()
            complaints = [line for line in said.splitlines() if "No space left" in line]
            stored = len(list(study.out.glob("calls/*")))
            subprocess.run(["mount", "-o", "remount,size=64m", str(study.out)], check=True)
            study.start()
            resumed, _ = study.end()
            return [
                Measurement("exit code with the disk full", code, "", 1, at_most=False, note=f"{stored} calls stored"),
                Measurement("lines that tell of it", len(complaints), "lines", 1, note=complaints[-1]),
                *_whole(study, resumed),
            ]
        finally:
            subprocess.run(["umount", str(study.out)], check=True)


def bench_clock_stepped() -> list[Measurement]:
    """The wall clock is stepped by an hour in a call over Tor: what the captures measured, and what tor makes of it."""
    with tempfile.TemporaryDirectory() as scratch:
        clock = SteppedClock(Path(scratch))
        with _study(DIRECT + TOR, clock.environment) as study:
            study.start()
            study.until_stored(2)
            study.until_talking("tor3")
            clock.step(3600.0)
            code, said = study.end()
            rows = Dataset.open(study.out).rows()
            delays = rows["owd_p99_ms"].dropna()
            return [
                Measurement("largest 99th percentile of delay", float(delays.max()), "ms", 2000.0),
                Measurement("least delay", float(rows["owd_min_ms"].dropna().min()), "ms", 5.0, at_most=False),
                Measurement("labs started again", said.count("the lab is started again"), "labs"),
                Measurement(
                    "attempts that failed",
                    rows[rows["outcome"] != "completed"]["call_id"].nunique(),
                    "calls",
                    note="; ".join(sorted(set(rows[rows["outcome"] != "completed"]["outcome_detail"])))[:200],
                ),
                *_whole(study, code),
            ]


def bench_power_cut() -> list[Measurement]:
    """Copies of the directory at random instants of a real run: each opens, and resumes to the whole study."""
    chance = random.Random(3)
    with _study(DIRECT) as study:
        process = study.start()
        copies: list[Path] = []
        while process.poll() is None:
            time.sleep(chance.uniform(0.5, 8.0))
            copy = study.out.with_name(f"copy{len(copies)}")
            with contextlib.suppress(shutil.Error, FileNotFoundError):  # what went while it was copied
                shutil.copytree(study.out, copy)
            if copy.is_dir():
                copies.append(copy)
        code, _ = study.end()
        found = [Measurement("copies", len(copies), "copies"), *_whole(study, code)]
        for copy in copies[:: max(1, len(copies) // 4)]:
            held = len(list(copy.glob("calls/*")))
            study.start(copy)
            resumed, _ = study.end()
            lost, doubled = study.missing(copy)
            wrong = (resumed != 0) + lost + doubled
            found.append(Measurement(f"copy with {held} calls: lost, doubled, not ended", wrong, "calls", 0))
        return found
