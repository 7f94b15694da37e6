"""Running things inside a sandbox from a test, and looking for what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.errors import EarwitnessError
from earwitness.netns import sandbox
from tests.netns.leftovers import Token

EXPERIMENTS = Path(__file__).with_name("experiments.py")
OUTER = "import sys; from earwitness.netns.sandbox import run_inside; sys.exit(run_inside(sys.argv[1:]))"


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skip where this machine does not permit a sandbox at all; `earwitness doctor` says the same."""
    try:
        sandbox.check_permitted()
        code = subprocess.run([sys.executable, "-c", OUTER, "true"], capture_output=True, timeout=60, check=False)
    except EarwitnessError as error:
        pytest.skip(str(error))
    if code.returncode != 0:
        pytest.skip(f"no sandbox here: {code.stderr.decode().strip().splitlines()[-1:]}")


@pytest.fixture
def experiment(permitted: None) -> Callable[..., Any]:
    """Run a function of experiments.py inside a sandbox; returns what it returned."""

    def run(name: str, **arguments: Any) -> Any:
        argv = [sys.executable, "-c", OUTER, sys.executable, str(EXPERIMENTS), name, json.dumps(arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def token() -> Token:
    return Token()
