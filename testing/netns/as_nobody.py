"""In a mount namespace of its own: let nobody reach this interpreter, the repository and a TUN device; become nobody.

Usage: unshare --mount python as_nobody.py MODE COMMAND... (MODE of /dev/net/tun, octal)
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

NOBODY = 65534


def open_up(directory: Path) -> None:
    """Where a parent is closed to others, put an open one in its place that holds only this directory."""
    for parent in reversed(directory.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            aside = Path(tempfile.mkdtemp(dir="/mnt"))
            subprocess.run(["mount", "--rbind", directory, aside], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", parent], check=True)
            directory.mkdir(parents=True)
            subprocess.run(["mount", "--rbind", aside, directory], check=True)


subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt"], check=True)
repository = Path(__file__).resolve().parents[2]
for needed in (Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), repository):
    open_up(needed)
device = Path("/mnt/net")
device.mkdir()
os.mknod(device / "tun", stat.S_IFCHR, os.makedev(10, 200))
(device / "tun").chmod(int(sys.argv[1], 8))
subprocess.run(["mount", "--rbind", device, "/dev/net"], check=True)
os.chdir("/")
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.execvp(sys.argv[2], sys.argv[2:])
