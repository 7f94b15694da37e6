"""The end of a command that serves: SIGINT, SIGTERM or SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from earwitness.netns.termination import on_end_signal


def serve_to_the_end(work: Coroutine[Any, Any, None]) -> NoReturn:
    """Run it, and end this process with it. What it raises is raised.

    All of ours has ended then; tasks of Dask's are not waited for: some do not heed their cancellation, and would hold
    the process for half a minute.
    """
    asyncio.Runner().run(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def until_end_signal(serving: asyncio.Task[Any]) -> None:
    """Wait for the task; SIGINT, SIGTERM and SIGHUP cancel it. Its error is raised, its cancellation is not."""
    with on_end_signal(serving.cancel), contextlib.suppress(asyncio.CancelledError):
        await serving
