"""Calls with simulated outcomes: a post that stores a real call folder quickly, and a study run over such posts.

As a program: `python -m testing.study.simulated STUDY DIR [POSTS [SECONDS]]`.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty, SpeechFacts
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.archive.stored import StoredCall
from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError, InputError, Outcome
from earwitness.events import Event
from earwitness.path.facts import CircuitFacts
from earwitness.study.ending import Ending, StopRequest
from earwitness.study.file import StudyFile
from earwitness.study.folder import owned_study
from earwitness.study.memory import use_little_memory
from earwitness.study.runner import Runner

Fate = Callable[[CallPlan], tuple[Outcome, bool | None]]
"""How a simulated call ends, and whether its instrument was good."""


def completes(_plan: CallPlan) -> tuple[Outcome, bool | None]:
    return Outcome.COMPLETED, True


def number(*labels: object) -> float:
    """A number from 0 to 1 that depends on the labels alone."""
    return int.from_bytes(hashlib.sha256(repr(labels).encode()).digest()[:6], "big") / 2**48


def simulated_record(call_id: str, plan: CallPlan, outcome: Outcome, instrument_ok: bool | None) -> CallRecord:
    """The record of a call whose score depends on its path and place, with noise from its seed."""
    assert plan.study is not None
    good = outcome is Outcome.COMPLETED
    noise = number(plan.seed, plan.study.arm, "noise") - 0.5
    place = number(plan.from_place, plan.to_place) - 0.5
    hops = plan.hops if plan.over_tor else 0
    score = 4.2 - 0.4 * hops + 0.3 * place + 0.4 * noise
    detail = "" if good else "carrying media over tor: nothing arrived; place it again"
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    rows = tuple(
        Row(
            call_id=call_id,
            started_at=started,
            path=plan.path,
            hops=hops,
            codec=plan.codec,
            from_place=plan.from_place,
            to_place=plan.to_place,
            seed=plan.seed,
            outcome=str(outcome),
            outcome_detail=detail,
            direction=direction,
            verdict=("acceptable" if score >= 3 else "poor") if good else "failed",
            mos_lqo=score if good else None,
            jitter_mean_ms=5.0 * hops + noise if good else None,
            owd_p50_ms=40.0 + 50.0 * hops if good else None,
            mouth_to_ear_ms=240.0 + 50.0 * hops if good else None,
            send_deviation_p99_ms=0.1,
            link=plan.link or "none",
            playout_buffer="fixed:200" if good else "",
            concealment=plan.concealment or "wsola",
            instrument_ok=instrument_ok,
            speech="allison-10s",
            study=plan.study.study,
            block=plan.study.block,
            arm=plan.study.arm,
            attempt=plan.study.attempt,
        )
        for direction in ("to_callee", "to_caller")
    )
    return CallRecord(
        call_id=call_id,
        started_at=started,
        plan=plan.to_dict(),
        seed=plan.seed,
        path=plan.path,
        codec=plan.codec,
        circuit=CircuitFacts(),
        caller=CallParty(place=plan.from_place, host="caller", address="10.77.1.1"),
        callee=CallParty(place=plan.to_place, host="callee", address="10.77.2.1"),
        speech=SpeechFacts(name="allison-10s", seconds=9.3),
        outcome=outcome,
        outcome_detail=detail,
        rows=rows,
    )


class SimulatedSlot:
    """A post whose calls take `seconds` on the air and as long to score, and end as `fate` says."""

    def __init__(self, name: str = "simulated", seconds: float = 0.0, fate: Fate = completes) -> None:
        self.name = name
        self.seconds = seconds
        self.fate = fate
        self.placed: list[CallPlan] = []
        self.at_once = 0
        self.most_at_once = 0
        self.broken: str | None = None

    async def place(self, plan: CallPlan, call_id: str, dataset: Dataset, off_air: Callable[[], None]) -> StoredCall:
        self.placed.append(plan)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        with dataset.new_call(call_id) as folder:
            (folder / "caller.pcap").write_bytes(b"half of a capture")
            cancelled = False
            try:
                await asyncio.sleep(self.seconds)
            except asyncio.CancelledError:
                cancelled = True
            finally:
                self.at_once -= 1
            off_air()
            outcome, ok = (Outcome.INTERRUPTED, None) if cancelled else self.fate(plan)
            if not cancelled:
                await asyncio.sleep(self.seconds / 2)
            write_record(folder, simulated_record(call_id, plan, outcome, ok))
        if cancelled:
            raise asyncio.CancelledError
        return dataset.call(call_id)

    async def trouble(self) -> str | None:
        return self.broken


class RefusingSlot(SimulatedSlot):
    """A post that cannot store anything."""

    def __init__(self, error: EarwitnessError | None = None) -> None:
        super().__init__()
        self.error = error or InputError("placing", "a call", "no", "no")

    async def place(self, plan: CallPlan, call_id: str, dataset: Dataset, off_air: Callable[[], None]) -> StoredCall:
        self.placed.append(plan)
        raise self.error


def run_simulated(
    text: str,
    directory: Path,
    posts: list[SimulatedSlot],
    *,
    stop: Callable[[Event], str | None] = lambda _event: None,
) -> Ending:
    """Run a study over simulated posts; `stop` may say `gently` or `now` when it hears of a call."""

    async def running() -> Ending:
        with owned_study(directory, StudyFile.parse(text)) as folder:
            word = StopRequest()

            def on_event(event: Event) -> None:
                said = stop(event)
                if said:
                    word.ask()
                if said == "now":
                    word.ask()

            with folder.dataset:
                return await Runner(folder, posts, word, on_event).run()

    return asyncio.run(running())


def main() -> None:
    """Run a study file over simulated posts; print what was put right, then how it ended."""
    use_little_memory()
    study, directory = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 0.02
    try:
        ending = run_simulated(
            study.read_text(), directory, [SimulatedSlot(f"pair {i + 1}", seconds) for i in range(count)]
        )
    except EarwitnessError as error:
        sys.exit(f"earwitness: {error}")
    print(ending.why, ending.completed, flush=True)


if __name__ == "__main__":
    main()
