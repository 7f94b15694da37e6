"""Calls and studies in the lab from a notebook, or any other program that runs already."""

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
"""So many are passed on to the lab: it ends in order at the first; after the last it is killed."""
_LAST_WORDS = 4000


@dataclass(frozen=True)
class PlacedCalls:
    """What `ew.place_calls` gives."""

    rows: pd.DataFrame
    """A row a call and direction, in order of start, with the columns of the data dictionary; `outcome` says how a call
    ended."""
    dataset: Dataset
    """The data set that they were added to, with their packets and sound."""
    errors: tuple[EarwitnessError, ...] = ()
    """Of calls that could not even be stored: these have no rows."""

    def _repr_html_(self) -> str:
        return self.rows.to_html(max_rows=20)


@dataclass(frozen=True)
class StudyRun:
    """What `ew.run_study` gives."""

    ending: str
    """`finished`; `enough`, `budget`: as the study's file says; `stopped`; `network`, `trouble`: see `detail`."""
    detail: str
    rows: pd.DataFrame
    """A row a call and direction of the whole study so far."""
    dataset: Dataset

    def _repr_html_(self) -> str:
        return self.rows.to_html(max_rows=20)


def place_calls(plans: CallPlan | Iterable[CallPlan], out: str | Path, *, on_event: Listener = ignore) -> PlacedCalls:
    """Place real calls in the lab, one after the other, and measure them; a process of its own runs the lab.

    A lab that is up (`earwitness lab up`) is used where it serves them, else one is started and ended with the calls. A
    call that fails is a row with its `outcome`; the others go on. KeyboardInterrupt (in a notebook: interrupt the
    kernel) ends the call on the air and the lab in order, and is raised then; again: at once. What was measured is
    kept.

    Args:
        plans: one or several; equal but for one field, they are compared by it.
        out: the data set to add them to, made where there is none.
        on_event: called at each stage; `print` will do.

    Raises:
        EarwitnessError: a plan that cannot be carried out, or no lab on this machine (`earwitness doctor` says why).
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
            raise InputError("placing calls by", "hand", "somebody must read what to dial", remedy)
    lab_plan_for(chosen)
    heard = _Outcome(on_event)
    calls = [plan.to_dict() for plan in chosen]
    _run({"calls": calls, "out": str(out), "command": ["earwitness.place_calls"]}, heard)
    dataset = open_dataset(out)
    rows = dataset.rows()
    rows = rows[rows["call_id"].isin(heard.call_ids)].reset_index(drop=True)
    return PlacedCalls(rows, dataset, tuple(heard.unstored))


def read_study(file: str | Path) -> Study:
    """Read and check a study file (TOML; `earwitness study init` writes one to begin with).

    Raises:
        EarwitnessError: it cannot be read; or it says what cannot be, every fault of it. See docs/studies.md.
    """
    face_needs("read_study", "lab")
    from earwitness.study.file import read_study as read_file

    return read_file(Path(file))


def plan_study(study: Study | str | Path, pilot: str | Path | None = None) -> Preview:
    """What a study takes and how small a difference it can see; nothing is started.

    `pilot`: a data set to take the variance of paired differences from; by default the study's own assumption.

    Returns:
        `calls` in their order, `cost` (calls, bytes on Tor), `wall_s`, `visible` (smallest differences in MOS).

    Raises:
        EarwitnessError: the file has faults, or the pilot has no two calls that differ in the compared axis alone.
    """
    face_needs("plan_study", "lab")
    from earwitness.study.preview import preview

    read = read_study(study) if isinstance(study, str | Path) else study
    return preview(read, None if pilot is None else Path(pilot))


def run_study(file: str | Path, out: str | Path, *, on_event: Listener = ignore) -> StudyRun:
    """Run a study in the lab, or resume it: calls that are in the data set `out` are not placed again.

    KeyboardInterrupt ends it after the calls on the air, and is raised then; again: these are stored as interrupted.
    `on_event` is called at each stage and with each call that is done, of how many; `print` will do.

    Raises:
        EarwitnessError: the file has faults, `out` is another study's, another run is at work on it, or no lab starts.
    """
    face_needs("run_study", "lab")
    study = read_study(file)
    if study.network != "lab":
        remedy = 'use `earwitness study run --cluster`, or write network = "lab"'
        raise InputError("running the study over the network", study.network, "it is between vantages", remedy)
    heard = _Outcome(on_event)
    _run({"study": str(Path(file).absolute()), "out": str(out), "command": ["earwitness.run_study"]}, heard)
    dataset = open_dataset(out)
    return StudyRun(*heard.ending, rows=dataset.rows(), dataset=dataset)


@dataclass
class _Outcome:
    """What the lab's process says."""

    on_event: Listener
    call_ids: list[str] = field(default_factory=list)
    unstored: list[EarwitnessError] = field(default_factory=list)
    error: EarwitnessError | None = None
    ending: tuple[str, str] = ("", "")

    def take(self, event: Mapping[str, Any]) -> None:
        """Note one event."""
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
    """Have a process of its own do it, and note what it says, until it ends; whatever ends us ends it in order."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        argv = [sys.executable, "-m", _PROCESS, str(os.getpid())]
        # In a session of its own: Ctrl-C of a terminal and a notebook's interrupt reach whole groups.
        process = subprocess.Popen(argv, stdin=asked, stdout=subprocess.PIPE, stderr=said, start_new_session=True)
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    outcome.take(json.loads(line))
            except BaseException as ended:
                _end(process)
                if isinstance(ended, KeyboardInterrupt):
                    ended.add_note(f"what was measured is in {request['out']}")
                raise
        if outcome.error is not None:
            raise outcome.error
        if process.returncode != 0:
            happened = f"it ended with status {process.returncode}{_last_line(said)}"
            raise EarwitnessError("running", "the lab's process", happened, "see `earwitness doctor`")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the lab's process in order, with an interrupt for each of ours; then by force."""
    for _ in range(_INTERRUPTS):
        process.send_signal(signal.SIGINT)
        try:
            process.communicate()
        except KeyboardInterrupt:
            continue
        return
    process.kill()
    process.communicate()


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST_WORDS))
    lines = said.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" after saying: {last}" if last else ""


def _event(plain: Mapping[str, Any]) -> Event:
    kind: type[Event] = getattr(events, plain["event"])
    return kind(**plain["fields"])


def _error(parts: list[str]) -> EarwitnessError:
    kind, tried, on, happened, remedy = parts
    return (InputError if kind == "input" else EarwitnessError)(tried, on, happened, remedy)
