"""Identifies processes by more than their id, which the kernel reuses."""

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
    """A process id with the start time of the process (clock ticks since boot, proc(5) stat field 22)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The process that has this id now.

        Raises:
            EarwitnessError: there is none.
        """
        try:
            return cls(pid, _start_of(pid))
        except OSError as error:
            raise EarwitnessError("looking at process", pid, "it does not exist", "it may have just ended") from error

    def alive(self) -> bool:
        """Whether it is still running (a zombie is not)."""
        with contextlib.suppress(OSError):
            return _start_of(self.pid) == self.started and _state_of(self.pid) not in "ZX"
        return False

    def ours(self) -> bool:
        """Whether it is running as this user: all four of its user ids are this user's (proc(5), status, Uid).

        The effective id alone would be root's in any set-uid program started by another user.
        """
        with contextlib.suppress(OSError):
            ids = _user_ids_of(self.pid)
            return self.alive() and ids == {os.geteuid()}  # checked afterwards, so the ids belong to this process
        return False

    def end(self, number: signal.Signals, within_s: float) -> bool:
        """Send it a signal and wait for its end; returns whether it has ended. Never affects another process.

        Raises:
            EarwitnessError: it belongs to another user.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            if not self.ours():
                raise EarwitnessError("ending process", self.pid, "it is another user's", "ask that user to end it")
            signal.pidfd_send_signal(descriptor, number)
            return bool(select.select([descriptor], [], [], within_s)[0])
        except ProcessLookupError:
            return True
        finally:
            os.close(descriptor)


def processes_in(namespaces: Iterable[int]) -> list[tuple[int, str]]:
    """Id and name of the visible processes in any of the namespaces (inode numbers)."""
    wanted = set(namespaces)
    return [(pid, name) for pid, name, inodes in _all_processes() if wanted & inodes]


@contextlib.contextmanager
def hold_namespaces(namespaces: Iterable[int]) -> Iterator[set[int]]:
    """Keep those of the namespaces (inode numbers) in existence that have visible processes; gives their numbers.

    When a namespace ends, the kernel gives its number to the next new one, such as another lab's. While it is held,
    whatever is found in it belongs to it.
    """
    wanted = set(namespaces)
    held: dict[int, int] = {}
    try:
        for pid, _ in processes_in(wanted):
            with contextlib.suppress(OSError):  # it ended meanwhile
                for kind in namespaces_of(pid):
                    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                    number = os.fstat(descriptor).st_ino
                    if number in wanted - held.keys():
                        held[number] = descriptor
                    else:
                        os.close(descriptor)
        yield set(held)
    finally:
        for descriptor in held.values():
            os.close(descriptor)


def namespaces_of(pid: int) -> dict[str, int]:
    """Inode numbers of a process's namespaces by kind (`pid`, `mnt`, `net`, `uts` ...)."""
    return {entry.name: entry.stat().st_ino for entry in Path(f"/proc/{pid}/ns").iterdir()}


def _all_processes() -> Iterator[tuple[int, str, set[int]]]:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(directory.name)
                yield pid, (directory / "comm").read_text().strip(), set(namespaces_of(pid).values())


def _fields_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may contain spaces and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _user_ids_of(pid: int) -> set[int]:
    """Real, effective, saved and file-system user id, as numbered in this user namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Uid:"):
            return {int(number) for number in line.split()[1:]}
    raise ProcessLookupError(f"no user ids of {pid}")


def _start_of(pid: int) -> int:
    return int(_fields_of(pid)[19])


def _state_of(pid: int) -> str:
    return _fields_of(pid)[0]
