"""The helper process's side of `earwitness.netns.child`: each event is one JSON line on standard output."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress


def emit(event: str, **values: object) -> None:
    """Write one event. It is dropped if the owner is gone, or is not reading and the output is non-blocking."""
    line = json.dumps({"event": event, **values}).encode() + b"\n"
    with suppress(BlockingIOError, BrokenPipeError):
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
