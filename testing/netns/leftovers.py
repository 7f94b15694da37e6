"""What a lab could leave behind: processes that bear a mark, and the machine's mounts, namespaces and devices."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


class Token:
    """A mark in the environment of everything that a test starts, to find what is left of it."""

    def __init__(self) -> None:
        self.value = uuid.uuid4().hex
        self.environment = {**os.environ, "EARWITNESS_TEST_TOKEN": self.value}

    def processes(self) -> list[int]:
        """Ids of the processes that bear the mark and are not zombies."""
        found = []
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                try:
                    if self.value.encode() in (directory / "environ").read_bytes():
                        found.append(int(directory.name))
                except OSError:
                    continue
        return found


def machine_state() -> dict[str, list[str]]:
    """What a sandbox could leave on the machine: mounts, named network namespaces, devices, entries of /run."""

    def names(directory: str) -> list[str]:
        return sorted(path.name for path in Path(directory).iterdir()) if Path(directory).is_dir() else []

    mount_points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "mounts": [point for point in mount_points if point.startswith(("/run", "/proc", "/mnt"))],
        "namespaces": names("/run/netns"),
        "devices": names("/sys/class/net"),
        "run": names("/run"),
    }
