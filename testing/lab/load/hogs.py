"""Busy loops on every processor while a call is on the air."""

from __future__ import annotations

import os
import subprocess
import sys

from earwitness.call.measure import SCORING
from earwitness.events import Event, StageReached
from earwitness.netns.owned import start_owned

_LOOP = """
import os, sys, time
cpu, kind, number, until_s = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), time.monotonic() + float(sys.argv[4])
os.sched_setaffinity(0, {cpu})
if kind == "nice":
    try:
        os.setpriority(os.PRIO_PROCESS, 0, number)
    except PermissionError:
        pass  # without root as any other process, which is enough to be in the way
else:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(number))
while time.monotonic() < until_s:
    pass
"""


class Hogs:
    """A busy loop on each processor from the moment a call's phones talk, for `most_s` or until it has left the air.

    `kind`: nice, fifo, or empty for none; `number`: nice value or real-time priority.
    """

    def __init__(self, kind: str, number: int, most_s: float = 6.0) -> None:
        self._most_s = most_s
        self._kind, self._number = kind, number
        self._running: list[subprocess.Popen[bytes]] = []

    def heard(self, event: Event) -> None:
        """A listener to one call."""
        if not isinstance(event, StageReached):
            return
        if event.stage.startswith("talking") and self._kind:
            for cpu in sorted(os.sched_getaffinity(0)):
                argv = [sys.executable, "-c", _LOOP, str(cpu), self._kind, str(self._number), str(self._most_s)]
                self._running.append(start_owned(argv))
        elif event.stage == SCORING:
            self.end()

    def end(self) -> None:
        """End those that run."""
        for process in self._running:
            process.kill()
            process.wait()
        self._running.clear()
