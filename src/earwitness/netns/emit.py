"""The helper process's side of `earwitness.netns.child`: an event is one JSON line on its standard output."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress


def emit(event: str, **values: object) -> None:
    """Write one event. It is dropped where the owner is gone, or does not read and our output does not wait for it."""
    line = json.dumps({"event": event, **values}).encode() + b"\n"
    with suppress(BlockingIOError, BrokenPipeError):
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
