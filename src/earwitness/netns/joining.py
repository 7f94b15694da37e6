"""Runs a command inside an existing sandbox; it dies with its own command *and* with the sandbox."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from earwitness.errors import EarwitnessError
from earwitness.netns import syscalls
from earwitness.netns.process_identity import ProcessIdentity
from earwitness.netns.sandbox import HOME_NETNS
from earwitness.netns.supervise import child_main, die_with, execute, run_supervised, wait_for


def run_joined(init: ProcessIdentity, argv: Sequence[str]) -> int:
    """Run a command in the sandbox with that init process and wait; otherwise like `netns.sandbox.run_inside`.

    Raises:
        EarwitnessError: the sandbox is gone, or belongs to another user.
    """
    return run_supervised(lambda command, report: _enter(init, command, report), argv)


def _enter(init: ProcessIdentity, argv: Sequence[str], report: int) -> NoReturn:
    directory = Path.cwd()
    outer = os.pidfd_open(os.getppid())
    try:
        namespaces = {kind: os.open(f"/proc/{init.pid}/ns/{kind}", os.O_RDONLY) for kind in _KINDS}
        if not init.alive():  # checked after opening, so the id cannot have been reused in between
            raise ProcessLookupError("it has ended")
        if not init.ours():
            raise PermissionError("it is another user's")
        for kind, flag in _KINDS.items():
            if os.fstat(namespaces[kind]).st_ino != Path(f"/proc/self/ns/{kind}").stat().st_ino:
                syscalls.setns(namespaces[kind], flag)
        home = os.open(HOME_NETNS, os.O_RDONLY)
        syscalls.setns(home, syscalls.CLONE_NEWNET)
    except OSError as error:
        remedy = "run `earwitness lab status`; a lab serves the user who started it"
        raise EarwitnessError("joining", "the lab that is up", error, remedy) from error
    for descriptor in (*namespaces.values(), home):
        os.close(descriptor)
    die_with(outer)  # the kernel clears it when credentials change
    os.close(outer)
    guard = os.pidfd_open(os.getpid())
    command = os.fork()
    if command == 0:
        child_main(report, lambda: _run(argv, guard, directory))
    os.close(report)
    os._exit(wait_for(command))


_KINDS = {
    "user": syscalls.CLONE_NEWUSER,
    "pid": syscalls.CLONE_NEWPID,
    "uts": syscalls.CLONE_NEWUTS,
    "mnt": syscalls.CLONE_NEWNS,
}
"""In the order of entering: the user namespace permits the others; after `mnt`, /proc is a different one."""


def _run(argv: Sequence[str], guard: int, directory: Path) -> NoReturn:
    die_with(guard)
    os.close(guard)
    os.chdir(directory)
    execute(argv)
