"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How quickly examples are made says something of the machine, and nothing of the code. The same examples each time, so
# that a test fails for what was changed; `pytest --hypothesis-profile exploring` looks for new ones.
ANY_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("any machine", **ANY_MACHINE, derandomize=True)
settings.register_profile("exploring", **ANY_MACHINE)
settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def published() -> Path:
    """The published study's data, where it is on this machine."""
    folder = Path(os.environ.get("EARWITNESS_PUBLISHED", REPOSITORY.parent / "shared" / "published"))
    if not (folder / "05-data").is_dir():
        pytest.skip(f"the published data set is not at {folder}; set EARWITNESS_PUBLISHED to where it is")
    return folder
