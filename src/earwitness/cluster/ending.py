"""Ends a serving command on SIGINT, SIGTERM or SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from earwitness.netns.termination import on_termination_request


def serve_to_the_end(work: Coroutine[Any, Any, None]) -> NoReturn:
    """Run the coroutine, then end this process. Its exceptions are raised.

    Everything of Earwitness has ended by then. Dask's remaining tasks are not awaited, because some ignore cancellation
    and would delay the exit by half a minute.
    """
    asyncio.Runner().run(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def until_end_signal(serving: asyncio.Task[Any]) -> None:
    """Wait for the task; SIGINT, SIGTERM and SIGHUP cancel it. Its error is raised, its cancellation is not."""
    with on_termination_request(serving.cancel), contextlib.suppress(asyncio.CancelledError):
        await serving
