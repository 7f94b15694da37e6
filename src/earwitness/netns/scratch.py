"""A folder for short-lived files that goes with the process that made it, however that ends.

A sandbox's own folder goes with the sandbox. Outside of one nothing of the kernel removes files, so each folder has a
remover: a shell that holds the read end of a pipe whose other end this process alone has. The pipe ends with its
holder, also by SIGKILL, and the remover then removes that folder and no other. It is started before the folder is
made, and it makes the end in the ordinary case, too, so that what is there for a kill is tried with every use.
A machine that is switched off leaves the folder to be removed with its temporary files.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earwitness.netns.sandbox import private_place

_REMOVER = """
trap '' HUP INT QUIT TERM
if read -r _; then exec rm -rf -- "$1"; fi
for pause in 0 0.2 1; do sleep "$pause"; rm -rf -- "$1"; done
"""
"""A line: the owner is done. None: it died, and processes of its own, which die a moment later, may still write."""


@contextmanager
def scratch_folder(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """A new folder, 0700, below `within` (None: the sandbox's own memory, else the system's temporary directory).

    It is gone on leaving; what cannot be removed stays without a word. Raises `OSError` where it cannot be made.
    """
    folder = (within or private_place() or Path(tempfile.gettempdir())).absolute() / f"{prefix}{secrets.token_hex(6)}"
    remover = subprocess.Popen(
        ["/bin/sh", "-c", _REMOVER, "earwitness-scratch", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
        cwd="/",
        start_new_session=True,
    )
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        remover.kill()  # what is there under that name is not ours
        remover.communicate()
        raise
    try:
        yield folder
    finally:
        remover.communicate(b"done\n")
