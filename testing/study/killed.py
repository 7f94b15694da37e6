"""A study over simulated calls that is killed (SIGKILL) at random moments and run again until it ends.

`python -m testing.study.killed STUDY DIR KILLS SEED` prints a JSON line: how many kills struck a run under way.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from testing.study.simulated import SimulatedSlot, run_simulated


def run_to_the_end(text: str, directory: Path, kills: int, seed: int, posts: int = 1) -> int:
    """Kill it so often, then let it finish; returns how many of the kills struck while it ran."""
    chance = random.Random(seed)
    struck = 0
    for turn in range(kills + 1):
        child = os.fork()
        if child == 0:
            try:
                run_simulated(text, directory, [SimulatedSlot(f"pair {i + 1}", 0.02) for i in range(posts)])
                os._exit(0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
        if turn < kills:
            time.sleep(chance.uniform(0.0, 0.35))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 1:
            raise SystemExit("a run failed")
        struck += code == -signal.SIGKILL
    return struck


if __name__ == "__main__":
    file, out, kills, seed = sys.argv[1:]
    print(json.dumps({"struck": run_to_the_end(Path(file).read_text(), Path(out), int(kills), int(seed))}))
