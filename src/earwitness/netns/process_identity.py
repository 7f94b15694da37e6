"""Processes known by more than their number, which the kernel gives to others later."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from earwitness.errors import EarwitnessError


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id and when that process started (clock ticks since boot, proc(5) stat field 22)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The process that has this number now.

        Raises:
            EarwitnessError: there is none.
        """
        try:
            return cls(pid, _start_of(pid))
        except OSError as error:
            raise EarwitnessError("looking at process", pid, "it is not there", "it may have ended just now") from error

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        with contextlib.suppress(OSError):
            return _start_of(self.pid) == self.started and _state_of(self.pid) not in "ZX"
        return False

    def ours(self) -> bool:
        """Whether it runs and is this user's: all four of its user ids are ours (proc(5), status, Uid).

        The effective one alone would be root's in any set-uid program that another user started.
        """
        with contextlib.suppress(OSError):
            ids = _user_ids_of(self.pid)
            return self.alive() and ids == {os.geteuid()}  # alive after the look: the ids were of this very process
        return False

    def end(self, number: signal.Signals, within_s: float) -> bool:
        """Send it a signal and wait for its end; True if it has ended. Never hits another process.

        Raises:
            EarwitnessError: it is another user's.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            if not self.ours():
                raise EarwitnessError("ending process", self.pid, "it is another user's", "let that user end it")
            signal.pidfd_send_signal(descriptor, number)
            return bool(select.select([descriptor], [], [], within_s)[0])
        except ProcessLookupError:
            return True
        finally:
            os.close(descriptor)


def processes_in(namespaces: Iterable[int]) -> list[tuple[int, str]]:
    """Id and name of the processes that are in any of the namespaces (inode numbers) and that we may look at."""
    wanted = set(namespaces)
    return [(pid, name) for pid, name, inodes in _all_processes() if wanted & inodes]


def namespaces_of(pid: int) -> dict[str, int]:
    """Inode number by kind (`pid`, `mnt`, `net`, `uts` ...) of a process's namespaces."""
    return {entry.name: entry.stat().st_ino for entry in Path(f"/proc/{pid}/ns").iterdir()}


def _all_processes() -> Iterator[tuple[int, str, set[int]]]:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(directory.name)
                yield pid, (directory / "comm").read_text().strip(), set(namespaces_of(pid).values())


def _fields_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: the second, the name, may hold spaces and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _user_ids_of(pid: int) -> set[int]:
    """Real, effective, saved and file-system user id, as this user namespace numbers them."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Uid:"):
            return {int(number) for number in line.split()[1:]}
    raise ProcessLookupError(f"no user ids of {pid}")


def _start_of(pid: int) -> int:
    return int(_fields_of(pid)[19])


def _state_of(pid: int) -> str:
    return _fields_of(pid)[0]
