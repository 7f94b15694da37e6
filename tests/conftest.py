"""Fixtures that every test may use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from earwitness.errors import EarwitnessError
from earwitness.geography import share_places
from earwitness.lab.plan import LabPlan
from earwitness.netns.sandbox import check_permitted
from testing.commands import EXPERIMENTS, INSIDE
from testing.netns.leftovers import Token
from testing.published.folder import PUBLISHED

# How quickly examples are made says something of the machine, and nothing of the code. The same examples each time, so
# that a test fails for what was changed; `pytest --hypothesis-profile exploring` looks for new ones.
EXPLORING = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("any machine", EXPLORING, derandomize=True)
settings.register_profile("exploring", EXPLORING)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def usual_cities() -> None:
    """The commands that tests start know the usual cities, as the processes of a lab do: to read the table of all
    cities takes each half a second."""
    share_places(host.place for host in LabPlan().hosts())


@pytest.fixture(scope="session")
def published() -> Path:
    """The published study's data, where it is on this machine."""
    if not (PUBLISHED / "05-data").is_dir():
        pytest.skip(f"the published data set is not at {PUBLISHED}; set EARWITNESS_PUBLISHED to where it is")
    return PUBLISHED


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skip where this machine does not permit a sandbox at all; `earwitness doctor` says the same."""
    try:
        check_permitted()
        done = subprocess.run([*INSIDE, "true"], capture_output=True, timeout=60, check=False)
    except EarwitnessError as error:
        pytest.skip(str(error))
    if done.returncode != 0:
        pytest.skip(f"no sandbox here: {done.stderr.decode().strip().splitlines()[-1:]}")


@pytest.fixture
def experiment(permitted: None) -> Callable[..., Any]:
    """Run a function of `testing.netns.experiments` inside a sandbox; returns what it returned."""

    def run(name: str, **arguments: Any) -> Any:
        argv = [*INSIDE, sys.executable, str(EXPERIMENTS), name, json.dumps(arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def token() -> Token:
    """A mark for the processes that a test starts."""
    return Token()
