"""Lab calls and studies from a notebook or any other running program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from earwitness import events
from earwitness.api.data import open_dataset
from earwitness.api.needing import face_needs
from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Event, Listener, ignore

if TYPE_CHECKING:
    import pandas as pd

    from earwitness.archive.dataset import Dataset
    from earwitness.study.model import Study
    from earwitness.study.preview import Preview

_PROCESS = "earwitness.api.lab_process"
_INTERRUPTS = 3
"""Interrupts passed on to the lab: the first ends it cleanly; after the last it is killed."""
_LAST_WORDS = 4000


@dataclass(frozen=True)
class PlacedCalls:
    """Result of `ew.place_calls`."""

    rows: pd.DataFrame
    """One row per call and direction, in order of start, with the columns of the data dictionary; `outcome` tells how a
    call ended."""
    dataset: Dataset
    """The data set to which they were added, with their packets and sound."""
    errors: tuple[EarwitnessError, ...] = ()
    """Errors of calls that could not be stored and so have no rows."""

    def _repr_html_(self) -> str:
        return self.rows.to_html(max_rows=20)


@dataclass(frozen=True)
class StudyRun:
    """Result of `ew.run_study`."""

    ending: str
    """`finished`; `enough` or `budget` (as set in the study file); `stopped`; `network` or `trouble` (see `detail`)."""
    detail: str
    rows: pd.DataFrame
    """One row per call and direction of the whole study so far."""
    dataset: Dataset

    def _repr_html_(self) -> str:
        return self.rows.to_html(max_rows=20)


def place_calls(plans: CallPlan | Iterable[CallPlan], out: str | Path, *, on_event: Listener = ignore) -> PlacedCalls:
    """Place real calls in the lab, one after the other, and measure them; the lab runs in a separate process.

    A running lab (`earwitness lab up`) is used if it suits the calls; otherwise one is started and ended with them.
    A failed call is a row with its `outcome`; the others are still placed. KeyboardInterrupt (in a notebook: interrupt
    the kernel) ends the current call and the lab cleanly and is then raised; a second one ends them at once. All
    measurements are kept.

    Args:
        plans: one or several; plans that differ in one field only can be compared by it.
        out: the data set to add them to; created if it does not exist.
        on_event: called at each stage; `print` is sufficient.

    Raises:
        EarwitnessError: a plan is not feasible, or this machine cannot run a lab (`earwitness doctor` tells why).
    """
    face_needs("place_calls", "lab")
    from earwitness.call.lab_needs import lab_plan_for
    from earwitness.geography import place

    chosen = [plans] if isinstance(plans, CallPlan) else list(plans)
    if not chosen:
        raise InputError("placing calls in", out, "no plan is given", "give an `ew.CallPlan`")
    for plan in chosen:
        plan.check()
        place(plan.from_place)
        place(plan.to_place)
        if plan.phone_kind.by_hand:
            remedy = "use `earwitness call --phone manual` in a terminal"
            raise InputError("placing calls by", "hand", "the user must read what to dial", remedy)
    lab_plan_for(chosen)
    outcome = _Outcome(on_event)
    calls = [plan.to_dict() for plan in chosen]
    _run({"calls": calls, "out": str(out), "command": ["earwitness.place_calls"]}, outcome)
    dataset = open_dataset(out)
    rows = dataset.rows()
    rows = rows[rows["call_id"].isin(outcome.call_ids)].reset_index(drop=True)
    return PlacedCalls(rows, dataset, tuple(outcome.unstored))


def read_study(file: str | Path) -> Study:
    """Read and check a study file (TOML; `earwitness study init` writes a template).

    Raises:
        EarwitnessError: it cannot be read, or is invalid; the error lists every fault. See docs/studies.md.
    """
    face_needs("read_study", "lab")
    from earwitness.study.file import read_study as read_file

    return read_file(Path(file))


def plan_study(study: Study | str | Path, pilot: str | Path | None = None) -> Preview:
    """Estimate what a study costs and the smallest difference that it can detect; nothing is started.

    `pilot`: a data set to take the variance of paired differences from; by default the study's own assumption.

    Returns:
        `calls` in their order, `cost` (calls, bytes on Tor), `wall_s`, `visible` (smallest detectable MOS differences).

    Raises:
        EarwitnessError: the file is invalid, or the pilot has no two calls that differ in the compared factor alone.
    """
    face_needs("plan_study", "lab")
    from earwitness.study.preview import preview

    read = read_study(study) if isinstance(study, str | Path) else study
    return preview(read, None if pilot is None else Path(pilot))


def run_study(file: str | Path, out: str | Path, *, on_event: Listener = ignore) -> StudyRun:
    """Run a study in the lab, or resume it: calls already in the data set `out` are not repeated.

    KeyboardInterrupt ends it after the calls in progress, and is then raised; a second one stores them as interrupted.
    `on_event` is called at each stage and with the progress after each call; `print` is sufficient.

    Raises:
        EarwitnessError: the file is invalid, `out` belongs to another study or is in use, or no lab can be started.
    """
    face_needs("run_study", "lab")
    study = read_study(file)
    if study.network != "lab":
        remedy = 'use `earwitness study run --cluster`, or write network = "lab"'
        raise InputError("running the study over the network", study.network, "it is between vantages", remedy)
    outcome = _Outcome(on_event)
    _run({"study": str(Path(file).absolute()), "out": str(out), "command": ["earwitness.run_study"]}, outcome)
    dataset = open_dataset(out)
    return StudyRun(*outcome.ending, rows=dataset.rows(), dataset=dataset)


@dataclass
class _Outcome:
    """Collects the events of the lab's process."""

    on_event: Listener
    call_ids: list[str] = field(default_factory=list)
    unstored: list[EarwitnessError] = field(default_factory=list)
    error: EarwitnessError | None = None
    ending: tuple[str, str] = ("", "")

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        if "event" in event:
            self.on_event(_event(event))
        elif "call_id" in event:
            self.call_ids.append(event["call_id"])
        elif "unstored" in event:
            self.unstored.append(_error(event["unstored"]))
        elif "error" in event:
            self.error = _error(event["error"])
        elif "ending" in event:
            why, detail = event["ending"]
            self.ending = (why, detail)


def _run(request: Mapping[str, Any], outcome: _Outcome) -> None:
    """Run the request in a separate process and collect its events; if we are ended, it is shut down cleanly."""
    with tempfile.TemporaryFile() as request_file, tempfile.TemporaryFile() as error_output:
        request_file.write(json.dumps(request).encode())
        request_file.seek(0)
        argv = [sys.executable, "-m", _PROCESS, str(os.getpid())]
        # In its own session, because Ctrl-C in a terminal and a notebook's interrupt reach whole process groups.
        process = subprocess.Popen(
            argv, stdin=request_file, stdout=subprocess.PIPE, stderr=error_output, start_new_session=True
        )
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    outcome.take(json.loads(line))
            except BaseException as ended:
                _end(process)
                if isinstance(ended, KeyboardInterrupt):
                    ended.add_note(f"the measurements are in {request['out']}")
                raise
        if outcome.error is not None:
            raise outcome.error
        if process.returncode != 0:
            happened = f"it ended with status {process.returncode}{_last_line(error_output)}"
            raise EarwitnessError("running", "the lab's process", happened, "see `earwitness doctor`")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the lab's process cleanly, passing on each interrupt; then kill it."""
    for _ in range(_INTERRUPTS):
        process.send_signal(signal.SIGINT)
        try:
            process.communicate()
        except KeyboardInterrupt:
            continue
        return
    process.kill()
    process.communicate()


def _last_line(error_output: IO[bytes]) -> str:
    error_output.seek(max(0, error_output.seek(0, os.SEEK_END) - _LAST_WORDS))
    lines = error_output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; its last message: {last}" if last else ""


def _event(plain: Mapping[str, Any]) -> Event:
    kind: type[Event] = getattr(events, plain["event"])
    return kind(**plain["fields"])


def _error(parts: list[str]) -> EarwitnessError:
    kind, tried, on, happened, remedy = parts
    return (InputError if kind == "input" else EarwitnessError)(tried, on, happened, remedy)
