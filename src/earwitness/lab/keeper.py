"""A persistent lab: the keeper process, its record, and the commands `up` and `down`.

`python -m earwitness.lab.keeper PLAN` is the keeper: it enters a sandbox, starts the lab there, and keeps it until
SIGTERM. Outside the sandbox there is only one directory (`runtime_dir`) with its record and log. When a keeper is
killed everything else ends with it, and the next command removes the stale record.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Event, Listener, StageReached, ignore
from earwitness.files import MIB
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.namespace import NETNS_DIR
from earwitness.netns.private import PrivateFolder, private_folder, runtime_dir
from earwitness.netns.process_identity import ProcessIdentity, hold_namespaces, namespaces_of, processes_in
from earwitness.netns.sandbox import in_sandbox, run_inside

_READY_DESCRIPTOR = "EARWITNESS_LAB_READY"
_SHARED_KINDS = ("pid", "mnt", "uts")
END_TIMEOUT_S = 20.0
_RECORD, _LOG = "lab.json", "keeper.log"
_FILES = (_RECORD, _LOG)
_LARGEST_RECORD = 1 * MIB
"""The largest plan, of 200 relays with a link change for each, takes a tenth of it."""
_LARGEST_LOG = 64 * MIB


@dataclass(frozen=True)
class KeeperRecord:
    """The record of a running lab."""

    keeper: ProcessIdentity
    init: ProcessIdentity
    plan: LabPlan
    started_at: float
    """Unix time, s."""
    namespaces: tuple[int, ...]
    """Inode numbers of its namespaces, to check afterwards that nothing is left in them."""
    ready: bool = False


def current() -> KeeperRecord | None:
    """The running lab, or None; the record of a killed one is removed.

    Raises:
        EarwitnessError: the record is damaged, or it, its folder or the processes that it names are not this user's
            alone. Then it is not trusted: no namespace is entered and no process ended.
    """
    with private_folder(runtime_dir()) as folder:
        if folder is None:
            return None
        try:
            content = folder.read(_RECORD, _LARGEST_RECORD)
        except FileNotFoundError:
            return None
        record = _record_from(content, folder.path / _RECORD)
        if not (record.keeper.alive() and record.init.alive()):
            folder.remove(*_FILES)
            return None
    for process in (record.keeper, record.init):
        if not process.ours():
            what = f"process {process.pid} of it is another user's"
            raise EarwitnessError("using the lab of", runtime_dir() / _RECORD, what, "remove that file")
    return record


def _record_from(content: bytes, path: Path) -> KeeperRecord:
    try:
        values = json.loads(content)
        return KeeperRecord(
            keeper=_identity(values["keeper"]),
            init=_identity(values["init"]),
            plan=LabPlan.from_dict(values["plan"]),
            started_at=float(values["started_at"]),
            namespaces=tuple(int(number) for number in values["namespaces"]),
            ready=values["ready"] is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InputError) as error:
        remedy = "end the lab's processes if there are any, and remove that file"
        raise EarwitnessError("reading which lab is up from", path, f"it is damaged: {error}", remedy) from error


def _identity(values: dict[str, Any]) -> ProcessIdentity:
    pid, started = values["pid"], values["started"]
    if not (type(pid) is int and type(started) is int and pid > 1):
        raise ValueError(f"no process: {values}")
    return ProcessIdentity(pid, started)


def start_keeper(plan: LabPlan, on_event: Listener = ignore) -> KeeperRecord:
    """Start a keeper and wait until its lab is ready.

    Raises:
        EarwitnessError: one is up already, or it did not start (with its own error).
    """
    with _alone() as folder:
        if current() is not None:
            raise EarwitnessError(
                "starting", "a lab", "one is up already", "use it, or run `earwitness lab down` first"
            )
        ready, ready_in = os.pipe()
        with folder.create(_LOG) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "earwitness.lab.keeper", json.dumps(plan.to_dict())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, _READY_DESCRIPTOR: str(ready_in)},
                pass_fds=[ready_in],
                start_new_session=True,
                cwd="/",
            )
        os.close(ready_in)
        try:
            return _await_ready(process, ready, on_event, folder)
        except BaseException:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def end_keeper() -> tuple[KeeperRecord, list[tuple[int, str]]] | None:
    """End the running lab: SIGTERM, then SIGKILL after a timeout.

    Returns:
        The lab's record and its remaining processes (id, name), normally none; or None if no lab was up.
    """
    record = current()
    if record is None:
        return None
    with hold_namespaces(record.namespaces) as held:
        if not record.keeper.end(signal.SIGTERM, END_TIMEOUT_S):
            record.keeper.end(signal.SIGKILL, END_TIMEOUT_S)
        record.init.end(signal.SIGKILL, END_TIMEOUT_S)
        with private_folder(runtime_dir()) as folder:
            if folder is not None:
                folder.remove(*_FILES)
        with contextlib.suppress(OSError):  # not empty: another program's file, or the next lab's
            runtime_dir().rmdir()
        return record, processes_in(held)


def _await_ready(
    process: subprocess.Popen[bytes], ready: int, on_event: Listener, folder: PrivateFolder
) -> KeeperRecord:
    with os.fdopen(ready, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise EarwitnessError(*message["error"])
            if "ready" in message:
                record = current()
                if record is None:
                    break
                return _write(folder, record, [*record.namespaces, *message["ready"]])
            on_event(StageReached(message["stage"], message["fraction"]))
    log = folder.read(_LOG, _LARGEST_LOG).decode(errors="replace")
    last = (log.strip().splitlines() or ["it printed nothing"])[-1]
    raise EarwitnessError("starting", "the lab", f"its keeper ended ({process.poll()}): {last}", "try again")


def _write(folder: PrivateFolder, record: KeeperRecord, namespaces: list[int], ready: bool = True) -> KeeperRecord:
    values = {**asdict(record), "plan": record.plan.to_dict(), "namespaces": namespaces, "ready": ready}
    folder.replace(_RECORD, json.dumps(values).encode())
    return KeeperRecord(record.keeper, record.init, record.plan, record.started_at, tuple(namespaces), ready)


@contextlib.contextmanager
def _alone() -> Iterator[PrivateFolder]:
    """Allow one `up` at a time; the directory belongs to this user alone."""
    with private_folder(runtime_dir(), create=True) as folder:
        assert folder is not None
        try:
            fcntl.flock(folder.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EarwitnessError("starting", "a lab", "another command is starting one", "wait for it") from error
        yield folder


# -- the keeper itself ---------------------------------------------------------------------------------


def main() -> None:
    """Outside a sandbox: run this module again inside one. Inside: start the lab and keep it."""
    plan = LabPlan.from_dict(json.loads(sys.argv[1]))
    ready = int(os.environ[_READY_DESCRIPTOR])
    try:
        if in_sandbox():
            asyncio.run(_keep(plan, ready))
        else:
            _keep_outside(plan)
    except EarwitnessError as error:
        _write_line(ready, {"error": [error.tried, error.on, error.happened, error.remedy]})
        sys.exit(error.exit_code)


def _keep_outside(plan: LabPlan) -> None:
    def started(init: int) -> None:
        mine = set(namespaces_of(os.getpid()).values())
        made = [number for number in namespaces_of(init).values() if number not in mine]
        identities = ProcessIdentity.of(os.getpid()), ProcessIdentity.of(init)
        with private_folder(runtime_dir()) as folder:
            if folder is None:
                raise EarwitnessError("keeping", "a lab", f"{runtime_dir()} is gone", "run `earwitness lab up` again")
            _write(folder, KeeperRecord(*identities, plan, time.time(), ()), made, ready=False)

    try:
        code = run_inside([sys.executable, *sys.orig_argv[1:]], on_started=started)
    finally:
        with private_folder(runtime_dir()) as folder:
            if folder is not None:
                folder.remove(_RECORD)
    sys.exit(code)


async def _keep(plan: LabPlan, ready: int) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, StageReached):
            _write_line(ready, {"stage": event.stage, "fraction": event.fraction})

    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        async with Lab.started(plan, on_event) as lab:
            _write_line(ready, {"ready": [(NETNS_DIR / name).stat().st_ino for name in lab.hosts]})
            os.close(ready)
            await told_to_end.wait()


def _write_line(ready: int, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the parent has stopped reading
        os.write(ready, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
