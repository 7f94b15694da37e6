"""A wall clock that can be stepped for some processes, and stays the machine's for all others (`stepped_clock.c`)."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("stepped_clock.c")


class SteppedClock:
    """For processes started with `environment`: `step` sets their wall clock, now."""

    def __init__(self, folder: Path) -> None:
        """Builds the library in `folder`; raises `CalledProcessError` where the compiler refuses."""
        library, self._file = folder / "stepped_clock.so", folder / "step"
        compiler = shutil.which("cc") or shutil.which("gcc") or "gcc"
        argv = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(argv, check=True)
        self._file.write_bytes(bytes(16))
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "EARWITNESS_STEPPED_CLOCK": str(self._file)}

    def step(self, seconds: float) -> None:
        """Set it by so much, from this instant on."""
        with self._file.open("r+b") as file:
            # In one write, so that nobody sees half of it.
            file.write(struct.pack("qq", time.monotonic_ns(), round(seconds * 1e9)))
