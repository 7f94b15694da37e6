"""Runs a study's calls: takes them from the plan, places them and writes the journal, until the end or a stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from earwitness.archive.schema import Row
from earwitness.archive.stored import StoredCall
from earwitness.call.self_check import SEND_DEVIATION_LIMIT_MS
from earwitness.errors import EarwitnessError, Outcome
from earwitness.events import Listener, ignore
from earwitness.study.concurrency import ConcurrencyLimit, Load
from earwitness.study.cost import tor_bytes_of
from earwitness.study.design import PlannedCall
from earwitness.study.ending import Ending, StopRequest, Why
from earwitness.study.events import CallFinished, CallLost, CallOffAir, CallPlaced
from earwitness.study.folder import StudyFolder, ended_of
from earwitness.study.retry import Ended, FailureKind, Next, failure_kind
from earwitness.study.schedule import Occupied, Schedule, nothing_shared
from earwitness.study.slot import Slot

_SCORED_BEHIND = 4
"""Maximum number of calls waiting to be scored; more would only use memory."""
_LOST_IN_A_ROW = 3
"""Number of consecutive attempts that could not be stored, after which the study stops."""


class Runner:
    """One run of a study over its slots."""

    def __init__(
        self,
        folder: StudyFolder,
        slots: Sequence[Slot],
        stop: StopRequest,
        on_event: Listener = ignore,
        calls: Sequence[PlannedCall] | None = None,
        occupied: Occupied = nothing_shared,
    ) -> None:
        """`calls`: the study's calls to place in this run, by default all; done ones are skipped.

        `occupied`: the resources of a call that two slots must not use at once.
        """
        self._folder = folder
        self._journal = folder.journal
        self._study = folder.study
        self._slots = slots
        self._stop = stop
        self._on_event = on_event
        states = {state.position: state.state for state in self._journal.states()}
        self._calls = folder.calls if calls is None else calls
        planned = (call for call in self._calls if states[call.position] == "planned")
        self._schedule = Schedule(planned, occupied)
        self.concurrency = ConcurrencyLimit(len(slots), adapt=self._study.run.adapt)
        self._load = Load(self._study.budget, self._spent_bytes())
        self._running: set[asyncio.Task[None]] = set()
        self._on_air = 0
        self._changed = asyncio.Event()
        self._ending: Ending | None = None
        self._completed = self._attempts = self._lost = 0
        self._repeats_seen = 0
        self._fault: Exception | None = None

    async def run(self) -> Ending:
        """Place calls until there is a reason to stop; then every started call is in the journal.

        Exceptions of a slot other than EarwitnessError, which are bugs, propagate.
        """
        self._stop.busy = True
        workers = [asyncio.create_task(self._work(slot, index)) for index, slot in enumerate(self._slots)]
        watch = asyncio.create_task(self._watch_stop(workers))
        try:
            await asyncio.gather(*workers)
            while self._running:
                await asyncio.wait(set(self._running))
        except asyncio.CancelledError:
            await self._interrupt()
            if not self._stop.now.is_set():
                raise
        except BaseException:
            await self._interrupt()
            raise
        finally:
            watch.cancel()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(watch, *workers, return_exceptions=True)
            self._stop.busy = False
        if (
            self._stop.gently.is_set()
            and (self._ending is None or self._ending.why is Why.FINISHED)
            and len(self._schedule)
        ):
            self._ending = Ending(Why.STOPPED, "stopped by the user")
        ending = self._ending or Ending(Why.FINISHED)
        if self._fault is not None:
            raise self._fault
        self._journal.end_run(f"{ending.why}: {ending.detail}" if ending.detail else str(ending.why))
        return replace(ending, completed=self._completed, attempts=self._attempts)

    # -- one slot ------------------------------------------------------------------------------------

    async def _work(self, slot: Slot, index: int) -> None:
        """Place calls one after another in this slot."""
        while not self._stop.gently.is_set() and self._ending is None:
            now_s = time.monotonic()
            if index >= self.concurrency.limit:
                self._schedule.give_back(slot.name)
            if index >= self.concurrency.limit or len(self._running) - self._on_air >= _SCORED_BEHIND:
                if not self._schedule and not self._running:
                    return
                await self._wait(None)
                continue
            call = self._schedule.take(slot.name, now_s)
            if call is None:
                if not self._running and not self._schedule:
                    return
                await self._wait(self._schedule.due_in_s(now_s))
                continue
            tor_bytes = tor_bytes_of(call.plan)
            if self._load.used_up(tor_bytes):
                self._end(Why.BUDGET, f"the budget of {self._study.budget.tor_mib:g} MiB on Tor is used up")
                return
            wait_s = self._load.wait_s(now_s, tor_bytes)
            if wait_s > 0:
                self._schedule.again(call, now_s + wait_s)
                continue
            self._load.add(now_s, tor_bytes)
            await self._launch(slot, call)
            self._schedule.off_air(slot.name)
            self._wake()  # other slots may be waiting for what it occupied

    async def _launch(self, slot: Slot, call: PlannedCall) -> None:
        """Start a call, and return when the slot is free again."""
        attempt = self._journal.begin(call)
        off_air = asyncio.Event()
        self._on_air += 1
        task = asyncio.create_task(self._one(slot, call, attempt, off_air))
        self._running.add(task)
        task.add_done_callback(lambda _: off_air.set())
        try:
            await off_air.wait()
        finally:
            self._on_air -= 1
        if not task.done():
            self._on_event(CallOffAir(call, attempt))

    async def _one(self, slot: Slot, call: PlannedCall, attempt: int, off_air: asyncio.Event) -> None:
        """Make one attempt, and record its start and its end in the journal."""
        call_id = call.call_id(attempt)
        begun = time.monotonic()
        self._on_event(CallPlaced(call, attempt))
        assert call.plan.study is not None
        plan = replace(call.plan, study=replace(call.plan.study, attempt=attempt))
        try:
            try:
                stored = await slot.place(plan, call_id, self._folder.dataset, off_air.set)
            except asyncio.CancelledError:
                self._cut_off(call, attempt, time.monotonic() - begun)
                raise
            except EarwitnessError as error:
                self._lost_attempt(call, attempt, error)
            else:
                await self._ended(slot, call, attempt, stored, time.monotonic() - begun)
        except EarwitnessError as error:  # the journal failed; the next run corrects it
            self._end(Why.TROUBLE, str(error))
        except Exception as error:
            self._fault = self._fault or error
            self._end(Why.TROUBLE, f"{type(error).__name__}: {error}")
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.discard(task)
            self._wake()

    async def _ended(self, slot: Slot, call: PlannedCall, attempt: int, stored: StoredCall, seconds: float) -> None:
        """Record a stored call, and decide what follows."""
        record = stored.record
        ended = ended_of(record)
        self._attempts += 1
        self._lost = 0
        follows = self._note(call, attempt, ended, record.outcome_detail, seconds)
        self.concurrency.note(ended.instrument_ok, _strain(stored.rows))
        self._completed += ended.outcome is Outcome.COMPLETED
        again_in_s = follows.wait_s if follows.state == "planned" else None
        self._on_event(CallFinished(call, attempt, stored, again_in_s))
        kind = failure_kind(ended.outcome)
        if kind is FailureKind.HALT:
            self._end(Why.NETWORK if ended.outcome is Outcome.LAB_FAILED else Why.TROUBLE, record.outcome_detail)
        elif kind in (FailureKind.NETWORK, FailureKind.OWN) and (trouble := await slot.trouble()) is not None:
            self._end(Why.NETWORK, trouble)
        if follows.state == "planned":
            self._schedule.again(call, time.monotonic() + follows.wait_s)
        else:
            self._look_at_rule()

    def _lost_attempt(self, call: PlannedCall, attempt: int, error: EarwitnessError) -> None:
        """The attempt could not be stored: retry the call; the disk or the network may need fixing."""
        with suppress(EarwitnessError):  # the journal may be on the same full disk; the next run corrects it
            self._journal.lose(call.position, call.call_id(attempt), str(error), self._study.retry)
        self._on_event(CallLost(call, attempt))
        self._lost += 1
        outcome = getattr(error, "outcome", None)
        if outcome in (Outcome.STORAGE_FAILED, Outcome.LAB_FAILED, Outcome.TOOL_MISSING):
            self._end(Why.NETWORK if outcome is Outcome.LAB_FAILED else Why.TROUBLE, str(error))
        elif self._lost >= _LOST_IN_A_ROW:
            self._end(Why.TROUBLE, f"{self._lost} attempts in a row could not be stored: {error}")
        else:
            self._schedule.again(call, time.monotonic() + self._study.retry.backoff_s)

    def _cut_off(self, call: PlannedCall, attempt: int, seconds: float) -> None:
        """Record a cancelled call, which may have been stored as interrupted or not at all."""
        call_id = call.call_id(attempt)
        try:
            record = self._folder.dataset.call(call_id).record
            self._note(call, attempt, ended_of(record), record.outcome_detail, seconds)
        except EarwitnessError:
            with suppress(EarwitnessError):
                self._journal.lose(call.position, call_id, "it was interrupted", self._study.retry)

    # -- all slots -----------------------------------------------------------------------------------

    def _note(self, call: PlannedCall, attempt: int, ended: Ended, why: str, seconds: float) -> Next:
        return self._journal.end(
            call.position, call.call_id(attempt), ended, self._study.retry, why=why, seconds=seconds
        )

    def _look_at_rule(self) -> None:
        """Apply the stopping rule after each whole repeat."""
        stop = self._study.stop
        if stop.rule == "all" or self._ending is not None:
            return
        if stop.rule == "hours":
            if self._hours() >= (stop.hours or 0.0):
                self._end(Why.ENOUGH, f"{stop.hours:g} h of measuring")
            return
        from earwitness.study.stopping import enough  # imports SciPy: 60 MiB that other rules do not need

        (open_repeat,) = self._journal.rows("SELECT min(repeat) FROM calls WHERE state IN ('planned', 'running')")[0]
        whole = (open_repeat or self._study.design.repeats + 1) - 1
        if whole > self._repeats_seen and whole >= stop.least_repeats:
            self._repeats_seen = whole
            if (reached := enough(self._study, self._folder.dataset.rows(), whole)) is not None:
                self._end(Why.ENOUGH, reached)

    def _hours(self) -> float:
        (seconds,) = self._journal.rows("SELECT total(seconds) FROM attempts WHERE state = 'ended'")[0]
        return float(seconds) / 3600.0

    def _spent_bytes(self) -> float:
        question = "SELECT total(tor_bytes) FROM attempts JOIN calls USING (position)"
        return float(self._journal.rows(question)[0][0])

    def _end(self, why: Why, detail: str) -> None:
        if self._ending is None:
            self._ending = Ending(why, detail)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def _wait(self, timeout_s: float | None) -> None:
        """Wait until something changes, the time is over, or the user stops the run."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    async def _watch_stop(self, workers: Sequence[asyncio.Task[None]]) -> None:
        await self._stop.gently.wait()
        self._wake()
        await self._stop.now.wait()
        for task in (*workers, *self._running):
            task.cancel()

    async def _interrupt(self) -> None:
        """Cancel the running calls, and wait until they are stored."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(set(self._running))


def _strain(rows: Sequence[Row]) -> float:
    """The worst send-time error as a fraction of the limit."""
    errors = [row.send_deviation_p99_ms for row in rows if row.send_deviation_p99_ms is not None]
    return max(errors, default=0.0) / SEND_DEVIATION_LIMIT_MS
