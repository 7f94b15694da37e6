"""Helper processes: how their ends are reported."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from earwitness.netns.child import ChildGone, JsonChild, LogChild
from testing.netns.loopback_host import LoopbackHost


def _gone(kind: type[JsonChild], script: str, *, kill: bool = False) -> ChildGone:
    async def run() -> ChildGone:
        child = await kind.start(LoopbackHost("here", "127.0.0.1"), ["sh", "-c", script], "shell")
        try:
            if kill:
                await child.receive(10.0)
                os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(ChildGone) as gone:
                await child.receive(10.0)
            return gone.value
        finally:
            await child.close(0.0)

    return asyncio.run(run())


@pytest.mark.parametrize("kind", [JsonChild, LogChild])
def test_a_killed_one_names_the_signal(kind: type[JsonChild]) -> None:
    gone = _gone(kind, "echo '{}'; exec sleep 60", kill=True)
    assert gone.killed_by == "SIGKILL"
    assert "killed by SIGKILL" in gone.happened


def test_one_that_only_prints_so_was_not_killed() -> None:
    gone = _gone(JsonChild, "echo 'killed by SIGKILL' >&2; exit 3")
    assert gone.killed_by == ""
    assert "it exited with status 3 after printing: killed by SIGKILL" in gone.happened
