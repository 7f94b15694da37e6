"""A lab that stays up for use by hand: the keeper process, its record, and `up` / `down`.

`python -m earwitness.lab.keeper PLAN` is the keeper: it puts itself inside a sandbox, starts the lab there, and keeps
it until SIGTERM. Outside it leaves one directory (`runtime_dir`) with its record and its log; a keeper that was killed
took everything else with it, and the next command to look removes the stale record.
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
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earwitness.errors import EarwitnessError
from earwitness.lab.identity import ProcessIdentity, namespaces_of, processes_in
from earwitness.lab.lab import Lab, Progress, no_progress
from earwitness.lab.namespace import NETNS_DIR
from earwitness.lab.plan import LabPlan
from earwitness.lab.sandbox import in_sandbox, run_inside

_READY_DESCRIPTOR = "EARWITNESS_LAB_READY"
_SHARED_KINDS = ("pid", "mnt", "uts")
END_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class KeeperRecord:
    """A lab that is up."""

    keeper: ProcessIdentity
    init: ProcessIdentity
    plan: LabPlan
    started_at: float
    """Unix time, s."""
    namespaces: tuple[int, ...]
    """Inode numbers of the namespaces that it made, to prove afterwards that they are gone."""
    ready: bool = False


def runtime_dir() -> Path:
    """Where the record and the log of this user's lab are (EARWITNESS_RUNTIME, else XDG_RUNTIME_DIR, else /tmp)."""
    if named := os.environ.get("EARWITNESS_RUNTIME"):
        return Path(named)
    if (of_session := os.environ.get("XDG_RUNTIME_DIR")) and Path(of_session).is_dir():
        return Path(of_session) / "earwitness"
    return Path(tempfile.gettempdir()) / f"earwitness-{os.getuid()}"


def current() -> KeeperRecord | None:
    """The lab that is up, or None; the record of one that was killed is removed."""
    try:
        values = json.loads((runtime_dir() / "lab.json").read_text())
    except FileNotFoundError:
        return None
    record = KeeperRecord(
        keeper=ProcessIdentity(**values["keeper"]),
        init=ProcessIdentity(**values["init"]),
        plan=LabPlan.from_dict(values["plan"]),
        started_at=values["started_at"],
        namespaces=tuple(values["namespaces"]),
        ready=values["ready"],
    )
    if record.keeper.alive() and record.init.alive():
        return record
    _forget()
    return None


def up(plan: LabPlan, progress: Progress = no_progress) -> KeeperRecord:
    """Start a keeper and wait until its lab is ready.

    Raises:
        EarwitnessError: one is up already, or it did not start (with its own error).
    """
    with _alone():
        if current() is not None:
            raise EarwitnessError(
                "starting", "a lab", "one is up already", "use it, or run `earwitness lab down` first"
            )
        ready, ready_in = os.pipe()
        with (runtime_dir() / "keeper.log").open("wb") as log:
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
            return _await_ready(process, ready, progress)
        except BaseException:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def down() -> tuple[KeeperRecord, list[tuple[int, str]]] | None:
    """End the lab that is up: SIGTERM, and SIGKILL if that does not help in time.

    Returns:
        What was up and the processes (id, name) left of it, which is none unless the kernel fails; or None when no
        lab was up.
    """
    record = current()
    if record is None:
        return None
    if not record.keeper.end(signal.SIGTERM, END_TIMEOUT_S):
        record.keeper.end(signal.SIGKILL, END_TIMEOUT_S)
    record.init.end(signal.SIGKILL, END_TIMEOUT_S)
    _forget()
    with contextlib.suppress(OSError):  # not empty: somebody else's file, or the next lab
        runtime_dir().rmdir()
    return record, processes_in(record.namespaces)


def _await_ready(process: subprocess.Popen[bytes], ready: int, progress: Progress) -> KeeperRecord:
    with os.fdopen(ready, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise EarwitnessError(*message["error"])
            if "ready" in message:
                record = current()
                if record is None:
                    break
                return _write(record, [*record.namespaces, *message["ready"]])
            progress(message["stage"], message["fraction"])
    log = runtime_dir() / "keeper.log"
    last = (log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
    raise EarwitnessError("starting", "the lab", f"its keeper ended ({process.poll()}): {last}", "try again")


def _write(record: KeeperRecord, namespaces: list[int], ready: bool = True) -> KeeperRecord:
    values = {**asdict(record), "plan": record.plan.to_dict(), "namespaces": namespaces, "ready": ready}
    draft = runtime_dir() / "lab.json.new"
    draft.write_text(json.dumps(values))
    draft.replace(runtime_dir() / "lab.json")
    return KeeperRecord(record.keeper, record.init, record.plan, record.started_at, tuple(namespaces), ready)


def _forget() -> None:
    for name in ("lab.json", "lab.json.new", "keeper.log"):
        (runtime_dir() / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Only one `up` at a time; the directory is this user's alone."""
    directory = runtime_dir()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise EarwitnessError("using", directory, "it belongs to another user", "set EARWITNESS_RUNTIME to a directory")
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise EarwitnessError("starting", "a lab", "another command is starting one", "wait for it") from error
    finally:
        os.close(lock)


# -- the keeper itself ---------------------------------------------------------------------------------


def main() -> None:
    """Outside: run ourselves inside. Inside: start the lab and keep it."""
    plan = LabPlan.from_dict(json.loads(sys.argv[1]))
    ready = int(os.environ[_READY_DESCRIPTOR])
    try:
        if in_sandbox():
            asyncio.run(_keep(plan, ready))
        else:
            _keep_outside(plan)
    except EarwitnessError as error:
        _say(ready, {"error": [error.tried, error.on, error.happened, error.remedy]})
        sys.exit(error.exit_code)


def _keep_outside(plan: LabPlan) -> None:
    def started(init: int) -> None:
        mine = set(namespaces_of(os.getpid()).values())
        made = [number for number in namespaces_of(init).values() if number not in mine]
        identities = ProcessIdentity.of(os.getpid()), ProcessIdentity.of(init)
        _write(KeeperRecord(*identities, plan, time.time(), ()), made, ready=False)

    try:
        code = run_inside([sys.executable, *sys.orig_argv[1:]], on_started=started)
    finally:
        (runtime_dir() / "lab.json").unlink(missing_ok=True)
    sys.exit(code)


async def _keep(plan: LabPlan, ready: int) -> None:
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        async with Lab.started(plan, lambda stage, done: _say(ready, {"stage": stage, "fraction": done})) as lab:
            _say(ready, {"ready": [(NETNS_DIR / name).stat().st_ino for name in lab.hosts]})
            os.close(ready)
            await told_to_end.wait()


def _say(ready: int, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(ready, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
