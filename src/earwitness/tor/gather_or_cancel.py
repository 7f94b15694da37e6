"""Run coroutines concurrently; the first failure cancels the others and propagates."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_or_cancel(*work: Coroutine[Any, Any, T]) -> list[T]:
    """The results in order. A `TaskGroup` would wrap the first error; `gather` would leave the others running."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
