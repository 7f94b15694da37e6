"""Pools of worker processes: they end with their owner, also where that is killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

_OWNER = """
import os, sys, time
from earwitness.netns.workers import pool, scoring_pool
if __name__ == "__main__":
    with pool(2) if sys.argv[1] == "pool" else scoring_pool(1) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["pool", "scoring pool"])
def test_workers_of_an_owner_that_was_killed_end(kind: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, kind], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        worker = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
        owner.wait()
    try:
        ended, _, _ = select.select([worker], [], [], 60)
        assert ended
    finally:
        os.close(worker)
