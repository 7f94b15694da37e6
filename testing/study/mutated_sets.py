"""Spoilt data sets through the commands that read them: no traceback, no hang, no flood, and the good calls stay.

A sound data set is made once (real speech and codecs, a study's journal, results of what-if and blame). Each seed
spoils a copy in a few places and runs the six commands on it in a process of its own. As a program:
`python -m testing.study.mutated_sets SEED ...` runs these seeds and shows what the commands say (from the repository).
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testing.study import mutations
from testing.study.files import study_file

CODECS = ("g711u", "gsm", "speex", "opus:24000")
GOOD, BAD, FAILED = "call-good", "call-bad", "call-failed"
MOST_MEMORY_MIB = 1024
_ADDRESS_SPACE = 8 << 30
_CPU_S = 60
_WALL_S = 300.0
WHOLE_EVERY = 50
"""Of so many seeds one also draws every figure, which takes longer than all the rest."""

STUDY = study_file("sim", "[design]\nrepeats = 1\n")


@dataclass
class Told:
    """What became of one seed."""

    seed: int
    faults: list[str] = field(default_factory=list)
    memory_mib: float = 0.0
    cpu_s: float = 0.0


def make_originals(folder: Path) -> None:
    """A sound data set for each codec, in `folder`/CODEC: a good call, one to spoil, a failed one, a study, results."""
    from earwitness.archive.dataset import Dataset
    from earwitness.replay.blame_calls import blame_dataset
    from earwitness.replay.whatif import what_if
    from testing.report.synthetic import Made, add_call, add_failure
    from testing.study.simulated import SimulatedSlot, run_simulated

    for codec in CODECS:
        path = folder / codec.partition(":")[0]
        run_simulated(STUDY, path, [SimulatedSlot()])
        with Dataset.open_or_create(path, durable=False) as store:
            add_call(store, Made(GOOD, "direct", codec="g711u", seconds=SECONDS, seed=1))
            add_call(store, Made(BAD, "tor", 3, codec=codec, seconds=SECONDS, seed=2))
            add_failure(store, FAILED)
        what_if(path, BUFFERS)
        blame_dataset(path)
        for name in WRITTEN:
            (path / name).touch()


WRITTEN = ("report.html", "whatif/whatif.html", "whatif/whatif-calls.parquet", "blame/blame.csv")
"""What commands write anew."""
SECONDS = 3.0
BUFFERS = ("fixed:60", "oracle:100", "adaptive", "pjmedia")


def spoil(path: Path, rng: random.Random) -> tuple[bool, list[str]]:
    """Spoil a data set in one to three places; whether only the bad call was touched, and what was done."""
    call = path / "calls" / BAD
    directions = ("to_callee", "to_caller")
    traces = [call / f"{name}.trace.parquet" for name in directions]
    ledgers = [call / f"{name}.ledger.parquet" for name in directions]
    sounds = [call / f"{name}.wav" for name in (*directions, "reference")]
    journals = [path / name / "journal.jsonl" for name in ("whatif", "blame")]
    study = [path / "study" / name for name in ("journal.sqlite", "study.toml", "lock")]
    written = [path / name for name in WRITTEN]
    top = [path / "dataset.json", path / "calls.parquet", path / "calls.csv"]
    own, done = True, []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(20)
        if kind < 6:
            choice, change = call / "record.json", mutations.spoil_record
        elif kind < 12:
            choice, change = rng.choice((*traces, *traces, *ledgers)), mutations.spoil_table
        elif kind == 12:
            choice, change = rng.choice((call / "record.json", *traces, *ledgers, *sounds)), mutations.spoil_bytes
        elif kind == 13:
            choice, change = rng.choice((call, call / "record.json", *traces, *sounds)), mutations.spoil_kind
        elif kind == 14:
            choice, change = rng.choice(sounds), mutations.spoil_bytes
        elif kind == 15:
            choice, change = rng.choice(journals), mutations.spoil_lines
        elif kind == 16:
            choice, change = path / "calls.parquet", mutations.spoil_table
        elif kind == 17:
            choice = rng.choice(study)
            change = mutations.spoil_database if choice.suffix == ".sqlite" else mutations.spoil_bytes
        elif kind == 18:
            choice, change = rng.choice((call, traces[0], path / "calls")), mutations.spoil_name
        else:
            choice = rng.choice((*top, *study, *journals, *written, path / "calls", path / "study"))
            change = (
                rng.choice((mutations.spoil_bytes, mutations.spoil_kind)) if choice.is_file() else mutations.spoil_kind
            )
        if change is not mutations.spoil_kind and choice.exists() and not choice.is_file():
            continue  # an earlier change put a pipe there, at which this one would wait
        try:
            change(choice, rng)
        except (OSError, ValueError, KeyError, RecursionError) as error:  # spoilt already, in another way
            done.append(f"not {change.__name__} {choice.name}: {type(error).__name__}")
            continue
        done.append(f"{change.__name__} {choice.relative_to(path)}")
        # What is believed for all calls, or without which there are none.
        own = own and (call in (choice, *choice.parents) or choice in (path / "calls.parquet", path / "calls.csv"))
    return own, done


def commands(path: Path, out: Path, rng: random.Random, whole: bool) -> list[list[str]]:
    """The six commands, each with options as the seed has them."""
    buffers = rng.sample(BUFFERS, rng.choice((1, 1, 2)))
    question = rng.choice(
        (
            "SELECT call_id, count(*) AS n, sum(size) AS s FROM packets GROUP BY 1",
            "SELECT call_id, avg(mos_lqo) AS m, sum(packets_sent) AS p FROM calls GROUP BY 1",
            "SELECT call_id, fate, count(*) AS n FROM frames GROUP BY ALL",
            "SELECT * FROM calls",
        )
    )
    made = [
        ["report", str(path), "--json", *(["--figures", str(out / "figures")] if whole else [])],
        ["query", str(path), question, "--json"],
        ["export", str(path), "--out", str(out / "export.csv")],
        ["whatif", str(path), *(word for one in buffers for word in ("--buffer", one)), "--json"],
        ["blame", str(path), "--json"],
        ["bundle", str(path), "--out", str(out / "bundle.tar.gz"), *([] if whole else ["--no-figures"])],
    ]
    if rng.random() < 0.3:
        made[0].remove("--json")
        made[3].remove("--json")
        made[4].remove("--json")
    for word in ("--pseudonyms", "--no-audio"):
        if rng.random() < 0.3:
            made[5].append(word)
    return made


def run_seed(seed: int, originals: Path, scratch: Path, told: Told) -> None:
    """Spoil a copy and run the commands on it, here; faults are put to `told`."""
    from earwitness.cli import main as command_line

    rng = random.Random(seed)
    path, out = scratch / "set", scratch / "out"
    shutil.copytree(originals / rng.choice(CODECS).partition(":")[0], path)
    out.mkdir()
    own, done = spoil(path, rng)
    whole = seed % WHOLE_EVERY == 0
    for argv in commands(path, out, rng, whole):
        said = scratch / "said"
        sys.argv = ["earwitness", *argv]
        if not whole:
            _without_drawing()
        begin = time.process_time()
        code, fault = 0, ""
        with _redirected(said):
            try:
                command_line.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(bool(end.code))
            except BaseException:
                fault = traceback.format_exc()
        text = said.read_text(encoding="utf-8", errors="replace")
        if not fault and "Traceback (most recent call last)" in text:
            fault = text
        elif not fault and code not in (0, 1, 2, 3):
            fault = f"exit code {code}: {text[-300:]}"
        elif not fault and own and (code or not _has_good(argv, text, out)):
            fault = f"the good call is lost (exit code {code}): {text[-300:]}"
        if fault:
            told.faults.append(f"{argv[0]}, {'; '.join(done)}: {fault}")
        if os.environ.get("EARWITNESS_MUTATED_SHOW"):
            sys.stderr.write(
                f"--- {argv} ({', '.join(done)}): {code}, {time.process_time() - begin:.2f} s\n{text[:3000]}\n"
            )


def _has_good(argv: Sequence[str], text: str, out: Path) -> bool:
    """Whether the call that nobody touched is in what a command gave."""
    if argv[0] == "export":
        return (out / "export.csv").read_text(encoding="utf-8").count("\n") >= 2
    if argv[0] == "bundle":
        return (out / "bundle.tar.gz").is_file()
    if argv[0] in ("report", "whatif", "blame") and "--json" not in argv:
        return True
    if argv[0] == "whatif":  # a row a path, and the good call's is the direct one
        return '"condition": "direct"' in text
    return GOOD in text


def _without_drawing() -> None:
    from earwitness.report import blame, whatif

    for module, name, drawing in (
        (whatif, "draw_tradeoffs", lambda _summary, _folder: {}),
        (blame, "draw_blame", lambda _summary, stem: [stem.with_suffix(".pdf"), stem.with_suffix(".png")]),
    ):
        setattr(module, name, drawing)


@contextmanager
def _redirected(said: Path) -> Iterator[None]:
    """Standard output and error into a file."""
    kept = [os.dup(1), os.dup(2)]
    with said.open("wb") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, one in enumerate(kept, 1):
                os.dup2(one, number)
                os.close(one)


def load() -> None:
    """What the commands need, so that each forked process need not load it; no library begins a thread by this."""
    import duckdb
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_pdf
    import pandas
    import pesq
    import pyarrow.compute
    import pyarrow.pandas_compat
    import pydantic.main
    import rich.progress
    import rich.table
    import scipy.fft
    import scipy.signal
    import soundfile
    import typer
    from typer.main import get_command

    import earwitness.bundle.bundle
    import earwitness.cli.main
    import earwitness.published.importing
    import earwitness.report.blame
    import earwitness.report.figures
    import earwitness.report.html
    import earwitness.report.reproduction.reproduce
    import earwitness.report.whatif
    import earwitness.study.query
    import earwitness.trace.table
    from earwitness.cli import main as command_line
    from earwitness.replay import whatif_journal
    from earwitness.report import html, page, worldmap
    from earwitness.report.templates import template

    if isinstance(command_line.app, typer.Typer):
        command_line.app = get_command(command_line.app)  # type: ignore[assignment]
    worldmap.world_map(worldmap.stops(("Frankfurt", "New York"), [("a", "Oslo", "NO")]))

    html.render_page(page.Page("", ""))
    template("whatif.html.j2")
    whatif_journal.code_fingerprint()
    del duckdb, pandas, pesq, pydantic, rich, scipy, matplotlib, pyarrow, soundfile, earwitness


def run_seeds(seeds: Sequence[int], originals: Path, workers: int = 1) -> Iterator[Told]:
    """Each seed in a process of its own, at most so many at once; results as they come."""
    running: dict[int, tuple[int, Path, float]] = {}
    waiting = list(reversed(seeds))
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                seed = waiting.pop()
                scratch = Path(tempfile.mkdtemp(prefix=f"mutated-{seed}-"))
                running[_forked(seed, originals, scratch)] = seed, scratch, time.monotonic()
            yield from _ended(running)
    finally:
        for child, (_, scratch, _) in running.items():
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            _remove(scratch)


def _forked(seed: int, originals: Path, scratch: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        told = Told(seed)
        run_seed(seed, originals, scratch, told)
        (scratch / "told.json").write_text(json.dumps(told.faults))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _ended(running: dict[int, tuple[int, Path, float]]) -> Iterator[Told]:
    for child, (seed, scratch, began) in list(running.items()):
        found, status, used = os.wait4(child, os.WNOHANG)
        if not found and time.monotonic() - began < _WALL_S:
            continue
        told = Told(seed)
        if not found:
            os.killpg(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
            told.faults.append(f"it hangs: {_doing(scratch)}")
        elif os.WIFSIGNALED(status):
            killed = signal.Signals(os.WTERMSIG(status)).name
            told.faults.append(f"{killed} ({_CPU_S} s of CPU are the most): {_doing(scratch)}")
        elif status:
            told.faults.append("the harness itself failed")
        else:
            told.faults += json.loads((scratch / "told.json").read_text())
        told.memory_mib, told.cpu_s = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
        if told.memory_mib > MOST_MEMORY_MIB:
            told.faults.append(f"it took {told.memory_mib:.0f} MiB")
        del running[child]
        _remove(scratch)
        yield told
    time.sleep(0.002)


def _doing(scratch: Path) -> str:
    return (scratch / "said").read_text(errors="replace")[-300:] if (scratch / "said").is_file() else "at the beginning"


def _remove(scratch: Path) -> None:
    shutil.rmtree(os.fsencode(scratch), ignore_errors=True)


@contextmanager
def originals() -> Iterator[Path]:
    """The sound data sets, made in a process of their own, since the one that forks must have begun no thread."""
    with tempfile.TemporaryDirectory(prefix="mutated-originals-") as folder:
        child = os.fork()
        if not child:
            try:
                make_originals(Path(folder))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError("the sound data sets could not be made")
        yield Path(folder)


def main() -> int:
    """Run the seeds named (`1 7 30-39`); show what each command says, with `-q` only what is wrong. 1 where it is."""
    quiet, words = "-q" in sys.argv, [word for word in sys.argv[1:] if word != "-q"]
    seeds: list[int] = []
    for word in words:
        first, _, last = word.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    if not quiet:
        os.environ["EARWITNESS_MUTATED_SHOW"] = "1"
    failed = 0
    load()
    with originals() as folder:
        for told in run_seeds(seeds, folder, 2 if quiet else 1):
            if told.faults or not quiet:
                print(f"{told.seed}: {told.memory_mib:.0f} MiB, {told.cpu_s:.1f} s", *told.faults, sep="\n", flush=True)
            failed += bool(told.faults)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
