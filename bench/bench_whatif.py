"""`earwitness whatif` over published captures: what a second process gives, here and by Dask; where the time goes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.commands import started, until
from bench.measure import Measurement
from testing.commands import EARWITNESS
from testing.published.folder import PUBLISHED

REFERENCE = PUBLISHED / "02-data-collection-steps/caller/audio-samples/prior-work-jithin-audio.wav"
BUFFERS = ("fixed:60", "fixed:200", "pjmedia", "adaptive", "oracle:200")
CALLS = int(os.environ.get("EARWITNESS_BENCH_CALLS", "16"))
"""How many of the Tor calls: enough to show, and short beside other work. 0 for all."""
BAR_CALLS = int(os.environ.get("EARWITNESS_BENCH_BAR_CALLS", "200"))
BAR_BUFFERS = ("pjmedia", "adaptive")
_JOINED_WITHIN_S = 120.0
TURNS = int(os.environ.get("EARWITNESS_BENCH_TURNS", "2"))

_RUN = """
import json, sys, time
from pathlib import Path
import earwitness.replay.whatif as whatif
from earwitness.score import pesq
from earwitness.cli.clusters import work_on
dataset, out, captures, reference, workers, cluster, keys, *buffers = sys.argv[1:]
inside, real = [0.0], pesq.measure
def timed(*arguments, **named):
    begin = time.process_time()
    try:
        return real(*arguments, **named)
    finally:
        inside[0] += time.process_time() - begin
if workers == "1" and not cluster:
    pesq.measure = timed
replay = whatif.replay_scored
def work(task):
    begin = time.perf_counter()
    return {**replay(task), "busy_s": time.perf_counter() - begin}
whatif.replay_scored = work
begin, cpu = time.perf_counter(), time.process_time()
with work_on(1 if cluster else int(workers), cluster or None, Path(keys) if keys else None) as executor:
    found = whatif.what_if(Path(dataset), buffers, out=Path(out), reference=reference, captures=Path(captures),
        executor=executor)
wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
busy = sum(json.loads(line)["record"]["busy_s"] for line in (Path(out) / "journal.jsonl").read_text().splitlines())
print(wall, cpu, inside[0], busy / int(workers) / wall, len(found.calls))
"""


def bench_both_cores() -> list[Measurement]:
    """Replays a second with one process and with two, side by side and repeated; CPU share of PESQ with one."""
    if not REFERENCE.is_file():
        return [
            Measurement("no published data here", float("nan"), "", note=f"set EARWITNESS_PUBLISHED, not {PUBLISHED}")
        ]
    with tempfile.TemporaryDirectory() as scratch:
        dataset, captures = _imported(Path(scratch))
        pairs, share, busy, replays = [], 0.0, 0.0, 0
        for turn in range(2):
            one, cpu, inside, _, replays = _run(dataset, captures, Path(scratch) / f"one-{turn}", 1)
            two, _, _, at_work, _ = _run(dataset, captures, Path(scratch) / f"two-{turn}", 2)
            busy = max(busy, at_work)
            pairs.append((one, two))
            share = max(share, inside / cpu)
    gain = max(one / two for one, two in pairs)
    tried = ", ".join(f"{one:.1f}/{two:.1f} s" for one, two in pairs)
    least = min(one for one, _ in pairs)
    return [
        Measurement(
            "replays (direction x buffer)", replays, "", note=f"{least / replays * 1000:.0f} ms each, one process"
        ),
        Measurement("CPU time inside PESQ", share, "of all", bar=0.5, at_most=False),
        Measurement("two processes over one", gain, "times", bar=1.7, at_most=False, note=f"best of {tried}"),
        Measurement("each of two processes at work", busy, "of the time", bar=0.9, at_most=False),
    ]


def bench_two_hundred_calls() -> list[Measurement]:
    """200 calls with one process, with two, and with two scorers of a cluster, in turn and repeated; the worst turn's.

    The 36 calls there are, each several times, told apart by a field of their captures that nobody reads.
    """
    if not REFERENCE.is_file():
        return []
    with tempfile.TemporaryDirectory() as scratch, _cluster(Path(scratch), 2) as (address, keys):
        dataset, captures = _imported(Path(scratch), BAR_CALLS)
        tried: dict[str, list[float]] = {"one": [], "two": [], "dask": []}
        busy = {"two": 0.0, "dask": 0.0}
        replays = 0
        for turn in range(TURNS):
            for name, workers, joining in (("one", 1, ("", "")), ("two", 2, ("", "")), ("dask", 2, (address, keys))):
                out = Path(scratch) / f"{name}-{turn}"
                wall, _, _, at_work, replays = _run(dataset, captures, out, workers, joining, BAR_BUFFERS)
                tried[name].append(wall)
                if name in busy:
                    busy[name] = max(busy[name], at_work)
        same = [(Path(scratch) / f"{name}-0" / "journal.jsonl").read_text().splitlines() for name in ("one", "dask")]
    gains = {
        name: min(one / wall for one, wall in zip(tried["one"], tried[name], strict=True)) for name in ("two", "dask")
    }
    walls = {name: "/".join(f"{wall:.1f}" for wall in seconds) for name, seconds in tried.items()}
    return [
        Measurement("replays of 200 calls", replays, "", note=f"one process {walls['one']} s"),
        Measurement(
            "two processes over one",
            gains["two"],
            "times",
            bar=1.8,
            at_most=False,
            note=f"{walls['two']} s, each at work {busy['two']:.0%} of the time",
        ),
        Measurement(
            "two scorers of a cluster over one process",
            gains["dask"],
            "times",
            bar=1.6,
            at_most=False,
            note=f"{walls['dask']} s, each at work {busy['dask']:.0%} of the time",
        ),
        Measurement(
            "results that differ between one process and the cluster",
            len(_without_times(same[0]) ^ _without_times(same[1])),
            "",
            bar=0,
        ),
    ]


def _without_times(lines: Sequence[str]) -> set[str]:
    """The results but for how long each took."""
    records = [json.loads(line)["record"] for line in lines]
    return {json.dumps({key: record[key] for key in record if key != "busy_s"}, sort_keys=True) for record in records}


@contextlib.contextmanager
def _cluster(scratch: Path, scorers: int) -> Iterator[tuple[str, str]]:
    """A scheduler and scorers on the loopback, as processes of their own: its address, and keys for a client."""
    from earwitness.cluster.keys import make_cluster_keys

    keys = scratch / "keys"
    make_cluster_keys(keys, ("here",))
    schedule = [*EARWITNESS, "cluster", "schedule", "--keys", str(keys / "scheduler"), "--listen", "127.0.0.1:0"]
    with contextlib.ExitStack() as running:
        scheduler = running.enter_context(started([*schedule, "--json"], stdout=subprocess.PIPE))
        assert scheduler.stdout is not None
        address = json.loads(scheduler.stdout.readline())["said"].split()[-1]
        for number in range(scorers):
            folder = scratch / f"scorer-{number}"
            folder.mkdir()
            argv = [sys.executable, "-m", "earwitness.cluster.scorer", address, str(keys / "vantage-here")]
            running.enter_context(started([*argv, f"scorer/{number}", str(folder)]))
        show = [*EARWITNESS, "cluster", "show", "--cluster", address, "--keys", str(keys / "client"), "--json"]

        def joined() -> bool:
            return int(json.loads(subprocess.check_output(show, text=True).splitlines()[-1])["scorers"]) >= scorers

        until(joined, _JOINED_WITHIN_S, scheduler)
        yield address, str(keys / "client")


def _imported(scratch: Path, count: int = CALLS) -> tuple[Path, Path]:
    """A data set of so many Tor calls of all codecs in turn, without their recordings, and its folder of captures.

    Where there are fewer, they come again, each time with another value in a field of the capture that means nothing
    (`sigfigs`), so that no two files are the same.
    """
    from earwitness.published.importing import import_folder

    tor = PUBLISHED / "05-data" / "Sample-Raw-Data" / "Tor"
    by_codec = [sorted(folder.glob("*/caller/data/test_pcaps/*_0.pcap")) for folder in sorted(tor.iterdir())]
    longest = max(map(len, by_codec))
    chosen = [captures[turn] for turn in range(longest) for captures in by_codec if turn < len(captures)]
    folder = scratch / "captures"
    for number in range(count or len(chosen)):
        turn, index = divmod(number, len(chosen))
        capture = chosen[index]
        copy = folder / capture.relative_to(PUBLISHED)
        copy = copy.with_name(f"{copy.stem.removesuffix('_0')}_{turn}.pcap")
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = bytearray(capture.read_bytes())
        content[12:16] = turn.to_bytes(4, "little")
        copy.write_bytes(content)
    import_folder(folder, scratch / "set", reference=REFERENCE)
    return scratch / "set", folder


def _run(
    dataset: Path,
    captures: Path,
    out: Path,
    workers: int,
    joining: tuple[str, str] = ("", ""),
    buffers: Sequence[str] = BUFFERS,
) -> tuple[float, float, float, float, int]:
    """In a process of its own: wall s, CPU s and CPU s within PESQ (of this one process), the share of the wall time
    that each worker was at work, replays."""
    # As low as a cluster's scorers, so that what else the machine does holds all up alike.
    low = ["nice", "-n", "15", sys.executable, "-c", _RUN]
    command = [*low, *map(str, (dataset, out, captures, REFERENCE, workers)), *joining, *buffers]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, cpu, inside, busy, replays = text.split()
    return float(wall), float(cpu), float(inside), float(busy), int(replays)


__all__ = ["bench_both_cores", "bench_two_hundred_calls"]
