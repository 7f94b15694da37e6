"""A folder for short-lived files that is removed with the process that created it, however it ends.

A sandbox's own folder disappears with the sandbox. Elsewhere the kernel removes no files, so each folder has a remover:
a shell that holds the read end of a pipe whose write end only this process has. The pipe closes with its holder, even
after SIGKILL, and the remover then deletes that folder and no other. The remover is started before the folder is
created, and also does the removal in the ordinary case, so the mechanism is exercised on every use. If the machine is
switched off, the folder stays until the temporary directory is cleared.
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
"""A line means the owner is done. End of file means it died; its own processes, which die a moment later, may still
write."""


@contextmanager
def scratch_folder(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """A new folder, 0700, below `within` (None: the sandbox's own memory, otherwise the system's temporary directory).

    It is removed at the end; failures to remove it are ignored. Raises `OSError` if it cannot be created.
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
        remover.kill()  # an existing folder of that name is not ours
        remover.communicate()
        raise
    try:
        yield folder
    finally:
        remover.communicate(b"done\n")
