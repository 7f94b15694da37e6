"""Hostile peers that are known by their certificates, both ways, over real TLS on loopback: nothing of ours falls over.

Callers meet a real `earwitness answer` in a sandbox of its own; false answerers meet the caller's whole dealing with an
answering side, step by step. Seeded: a session is its number's.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from bench.measure import Measurement
from testing.remote.hostile import answering, good_visit, hostile_session
from testing.remote.hostile_answerers import hostile_answer, small_patience, whole_call

CALLERS = 3000
ANSWERERS = 2000
CALLS = 24
_PATIENCE_S = 60.0
_MOST_MIB = 1024.0


def bench_hostile_callers() -> list[Measurement]:
    """Sessions of an invited caller: mutated requests, floods, replies unread, connections cut, bytes of no message."""
    return asyncio.run(_callers(CALLERS))


async def _callers(count: int) -> list[Measurement]:
    kinds: Counter[str] = Counter()
    hung, slowest, begun = 0, 0.0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        with answering(Path(name), "--patience", "1") as answer:
            looking = asyncio.create_task(answer.looking())
            for number in range(count):
                session = time.monotonic()
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        kinds[await hostile_session(answer, Random(number), number)] += 1
                except TimeoutError:
                    hung += 1
                slowest = max(slowest, time.monotonic() - session)
            took_s = time.monotonic() - begun
            served = await good_visit(answer, "good-call")
            looking.cancel()
        left = [path.name for path in Path(name).iterdir() if path.name not in ("answer.log", "store")]
        said = answer.said
    told = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))
    return [
        Measurement("sessions", sum(kinds.values()), "sessions", count, at_most=False, note=told),
        Measurement("sessions that hung", hung, "sessions", 0),
        Measurement("all sessions", took_s, "s"),
        Measurement("slowest session", slowest, "s", _PATIENCE_S),
        Measurement("a good visit afterwards", int(served), "visits", 1, at_most=False),
        Measurement("most memory of one process", answer.worst_one_mib, "MiB", _MOST_MIB),
        Measurement("most memory of all its processes", answer.worst_all_mib, "MiB", _MOST_MIB),
        Measurement("tracebacks in its log", said.count("Traceback"), "", 0),
        Measurement("lines of its log", len(said.splitlines()), "lines", 1000),
        Measurement("exit code on SIGTERM", answer.process.returncode, "", 0),
        Measurement("its end", answer.ended_in_s, "s", 25.0),
        Measurement("processes and folders left", len(answer.left) + len(left), "", 0, note=" ".join(left)),
    ]


def bench_hostile_answerers() -> list[Measurement]:
    """Mutated introductions, replies, events and files against the caller's side of each thing it asks for."""
    return asyncio.run(_answerers(ANSWERERS))


async def _answerers(count: int) -> list[Measurement]:
    steps: Counter[str] = Counter()
    faults: list[str] = []
    lost: list[object] = []
    slowest, begun = 0.0, time.monotonic()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: lost.append(context))
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, small_patience():
        for number in range(count):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    step, took_s = await hostile_answer(Random(number), Path(folder))
                steps[step] += 1
                slowest = max(slowest, took_s)
            except Exception as fault:  # what is no error in one line is what is looked for
                faults.append(f"{number}: {fault!r:.100}")
    most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = ", ".join(f"{steps[step]} {step.strip('_')}" for step in sorted(steps))
    return [
        Measurement("dealings", sum(steps.values()), "dealings", count, at_most=False, note=told),
        Measurement("faults that were no error in one line", len(faults), "", 0, note="; ".join(faults[:3])),
        Measurement("faults of tasks that nobody waits for", len(lost), "", 0, note=f"{lost[:1]!r:.200}"),
        Measurement("all dealings", time.monotonic() - begun, "s"),
        Measurement("slowest dealing", slowest, "s", 30.0),
        Measurement("most memory", most_mib, "MiB", _MOST_MIB, note="both sides"),
    ]


def bench_whole_calls() -> list[Measurement]:
    """`earwitness call --to` over tcp and vpn, the words of a real answering side mutated on their way back."""
    return asyncio.run(_calls(CALLS))


async def _calls(count: int) -> list[Measurement]:
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    worst_mib, slowest = 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="hostile-") as name, answering(Path(name), "--patience", "1") as answer:
        for number in range(count):
            begun = time.monotonic()
            code, said, outcome, mib = await whole_call(answer, Path(name), number, (0.02, 0.05, 0.2)[number % 3])
            slowest, worst_mib = max(slowest, time.monotonic() - begun), max(worst_mib, mib)
            outcomes[outcome] += 1
            lines = [line for line in said.splitlines() if line.startswith("earwitness: ")]
            if "Traceback" in said or not outcome or len(lines) != (code != 0) or code not in (0, 3):
                wrong.append(f"{number}: {code} {outcome} {said[-300:]!r}")
        tracebacks = answer.said.count("Traceback")
    return [
        Measurement("calls stored", sum(outcomes.values()), "calls", count, at_most=False, note=str(dict(outcomes))),
        Measurement("not stored, not told in one line, or with a traceback", len(wrong), "", 0, note=" | ".join(wrong)),
        Measurement("slowest call", slowest, "s", 700.0),
        Measurement("most memory of one process", worst_mib, "MiB", _MOST_MIB),
        Measurement("tracebacks in the log of answer", tracebacks, "", 0),
    ]
