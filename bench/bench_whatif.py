"""`earwitness whatif` over published captures: what a second process gives, and where the CPU time goes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Measurement

PUBLISHED = Path(
    os.environ.get("EARWITNESS_PUBLISHED", Path(__file__).resolve().parent.parent.parent / "shared" / "published")
)
REFERENCE = PUBLISHED / "02-data-collection-steps/caller/audio-samples/prior-work-jithin-audio.wav"
BUFFERS = ("fixed:60", "fixed:200", "pjmedia", "adaptive", "oracle:200")
CALLS = int(os.environ.get("EARWITNESS_BENCH_CALLS", "16"))
"""How many of the Tor calls: enough to show, and short beside other work. 0 for all."""

_RUN = """
import json, sys, time
from pathlib import Path
import earwitness.study.whatif as whatif
from earwitness.study.whatif_pool import pool
import earwitness.score.pesq as pesq
dataset, out, captures, reference, workers, *buffers = sys.argv[1:]
inside, real = [0.0], pesq.measure
def timed(*arguments, **named):
    begin = time.process_time()
    try:
        return real(*arguments, **named)
    finally:
        inside[0] += time.process_time() - begin
if workers == "1":
    pesq.measure = timed
replay = whatif.replay_scored
def work(task):
    begin = time.perf_counter()
    return {**replay(task), "busy_s": time.perf_counter() - begin}
whatif.replay_scored = work
begin, cpu = time.perf_counter(), time.process_time()
with pool(int(workers)) as executor:
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


def _imported(scratch: Path) -> tuple[Path, Path]:
    """A data set of so many Tor calls of all codecs in turn, without their recordings, and its folder of captures."""
    from earwitness.archive.published import import_folder

    tor = PUBLISHED / "05-data" / "Sample-Raw-Data" / "Tor"
    by_codec = [sorted(folder.glob("*/caller/data/test_pcaps/*_0.pcap")) for folder in sorted(tor.iterdir())]
    longest = max(map(len, by_codec))
    chosen = [captures[turn] for turn in range(longest) for captures in by_codec if turn < len(captures)]
    folder = scratch / "captures"
    for capture in chosen[: CALLS or None]:
        link = folder / capture.relative_to(PUBLISHED)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(capture)
    import_folder(folder, scratch / "set", reference=REFERENCE)
    return scratch / "set", folder


def _run(dataset: Path, captures: Path, out: Path, workers: int) -> tuple[float, float, float, float, int]:
    """In a process of its own: wall s, CPU s and CPU s within PESQ (of this one process), the share of the wall time
    that each worker was at work, replays."""
    command = [sys.executable, "-c", _RUN, *map(str, (dataset, out, captures, REFERENCE, workers)), *BUFFERS]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, cpu, inside, busy, replays = text.split()
    return float(wall), float(cpu), float(inside), float(busy), int(replays)


__all__ = ["bench_both_cores"]
