"""`python -m earwitness.emulator STATE_DIR SEED`: the emulator process."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

from earwitness.emulator.control import ControlServer
from earwitness.emulator.emulator import REALTIME_PRIORITY, Emulator
from earwitness.netns import syscalls


def main() -> None:
    """Start serving; the control socket appears in the state directory when ready."""
    state_dir, seed = Path(sys.argv[1]), int(sys.argv[2])
    emulator = Emulator(state_dir, seed)
    control = ControlServer(emulator, state_dir)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command; the emulator ends with it
    emulator.realtime = _be_punctual()
    emulator.run(control)


def _be_punctual() -> bool:
    """Do everything that makes this process wake on time; returns whether real-time scheduling was permitted."""
    gc.freeze()
    gc.disable()
    syscalls.set_timer_slack_ns(1)
    with contextlib.suppress(OSError):
        syscalls.lock_memory()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
